package tidy

import (
	"go/ast"
	"go/token"
	"slices"
)

// Variables: no package-level variable changes, outside ort, which holds the one environment. What the syntax shows is found:
// assignments, increments, addresses taken, and types that exist to change (locks, atomics). Tests are left alone.
func (t *Tree) Variables() (problems []Problem) {
	names, files := t.packages(true)
	for _, name := range names {
		if name == "ort" {
			continue
		}
		vars := map[string]bool{}
		for _, f := range files[name] {
			problems = append(problems, f.changingTypes(vars)...)
		}
		for _, f := range files[name] {
			problems = append(problems, f.changes(vars)...)
		}
	}
	return problems
}

// changingTypes notes the file's package-level variables in vars and reports those of a type that exists to change.
func (f *File) changingTypes(vars map[string]bool) (problems []Problem) {
	for _, d := range f.AST.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			for _, id := range spec.Names {
				vars[id.Name] = id.Name != "_"
			}
			if changing(spec.Type) || slices.ContainsFunc(spec.Values, changing) {
				problems = append(problems, f.at(spec, "%s is a package-level variable that changes", spec.Names[0].Name))
			}
		}
	}
	return problems
}

// changing says whether the type (or the composite literal of one) is out of sync or sync/atomic.
func changing(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		return changing(e.Type)
	case *ast.IndexExpr:
		return changing(e.X)
	case *ast.UnaryExpr:
		return changing(e.X)
	case *ast.StarExpr:
		return changing(e.X)
	case *ast.ChanType:
		return true
	case *ast.SelectorExpr:
		id, ok := e.X.(*ast.Ident)
		return ok && (id.Name == "sync" || id.Name == "atomic")
	}
	return false
}

// changes reports where the file changes one of the package's variables or lets their address out.
func (f *File) changes(vars map[string]bool) (problems []Problem) {
	// The parser resolves a name within its file only: what it does not know is declared in another file of the package.
	top := map[any]bool{}
	for _, d := range f.AST.Decls {
		if decl, ok := d.(*ast.GenDecl); ok {
			for _, s := range decl.Specs {
				top[s] = true
			}
		}
	}
	report := func(n ast.Node, e ast.Expr) {
		if id := root(e); id != nil && vars[id.Name] && (id.Obj == nil || top[id.Obj.Decl]) {
			problems = append(problems, f.at(n, "changes the package-level variable %s", id.Name))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if n.Tok != token.DEFINE {
					report(n, e)
				}
			}
		case *ast.IncDecStmt:
			report(n, n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report(n, n.X)
			}
		}
		return true
	})
	return problems
}

// root is the variable that x, x.f, x[i] and *x are parts of.
func root(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return root(e.X)
	case *ast.IndexExpr:
		return root(e.X)
	case *ast.StarExpr:
		return root(e.X)
	case *ast.ParenExpr:
		return root(e.X)
	}
	return nil
}
