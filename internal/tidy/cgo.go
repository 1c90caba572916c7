package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// The packages that may call C. In cuda only files with a build constraint may: its untagged rest is vetted and tested everywhere.
func mayCallC(f *File) bool {
	switch f.Package() {
	case "ort", "cpu", "engine/text":
		return true
	case "cuda":
		return f.Build != nil
	}
	return false
}

// Cgo: C is called, and lies, only in the packages whose work it is.
func (t *Tree) Cgo() (problems []Problem) {
	for _, f := range t.Go {
		if f.callsC() && !mayCallC(f) {
			problems = append(problems, Problem{f.Path, 0, `imports "C", which only ort, cpu, engine/text and the tagged files of cuda do`})
		}
	}
	for _, f := range t.Other {
		if ext := path.Ext(f.Path); ext != ".c" && ext != ".h" {
			continue
		}
		if dir := strings.SplitN(f.Path, "/", 2)[0]; !slices.Contains([]string{"ort", "cpu", "cuda", "third_party"}, dir) &&
			f.Package() != "engine/text" {
			problems = append(problems, Problem{f.Path, 0, "is C outside of ort, cpu, engine/text, cuda and third_party"})
		}
	}
	return problems
}

func (f *File) callsC() bool {
	return slices.ContainsFunc(f.AST.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"C"` })
}

// Signatures: nothing exported mentions a C type, so that no importer needs cgo to name it.
func (t *Tree) Signatures() (problems []Problem) {
	for _, f := range t.Go {
		if !f.callsC() {
			continue
		}
		for _, d := range f.AST.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && mentionsC(d.Type) {
					problems = append(problems, f.at(d, "%s has a C type in its signature", d.Name.Name))
				}
			case *ast.GenDecl:
				problems = append(problems, f.exportedC(d)...)
			}
		}
	}
	return problems
}

// exportedReceiver says whether the function is no method, or one of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	e := fn.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// exportedC reports the exported types, variables and constants of a declaration that show a C type.
func (f *File) exportedC(d *ast.GenDecl) (problems []Problem) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && visiblyC(s.Type) {
				problems = append(problems, f.at(s, "%s shows a C type", s.Name.Name))
			}
		case *ast.ValueSpec:
			exported := slices.ContainsFunc(s.Names, (*ast.Ident).IsExported)
			untyped := s.Type == nil && d.Tok == token.VAR && slices.ContainsFunc(s.Values, func(e ast.Expr) bool { return mentionsC(e) })
			if exported && (s.Type != nil && mentionsC(s.Type) || untyped) {
				problems = append(problems, f.at(s, "%s shows a C type", s.Names[0].Name))
			}
		}
	}
	return problems
}

// visiblyC is mentionsC without the unexported fields of a struct.
func visiblyC(e ast.Expr) bool {
	st, ok := e.(*ast.StructType)
	if !ok {
		return mentionsC(e)
	}
	return slices.ContainsFunc(st.Fields.List, func(field *ast.Field) bool {
		exported := len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported)
		return exported && mentionsC(field.Type)
	})
}

func mentionsC(n ast.Node) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == "C" {
				found = true
			}
		}
		return !found
	})
	return found
}

// Tags: where files are chosen by build tags, exactly one of each family is, on every machine and for every binary that we build.
// A family is the files of a package whose names differ in the last part: leak_on.go and leak_off.go, provider_{cpu,cuda,coreml}.go.
func (t *Tree) Tags() (problems []Problem) {
	names, files := t.packages(true)
	for _, name := range names {
		families := map[string][]*File{}
		var order []string
		for _, f := range files[name] {
			if stem, ok := f.family(); ok {
				if families[stem] == nil {
					order = append(order, stem)
				}
				families[stem] = append(families[stem], f)
			}
		}
		for _, stem := range order {
			problems = append(problems, complement(name, stem, families[stem])...)
		}
	}
	return problems
}

func complement(name, stem string, family []*File) (problems []Problem) {
	for _, c := range configurations() {
		var chosen []string
		for _, f := range family {
			if f.compiled(c) {
				chosen = append(chosen, path.Base(f.Path))
			}
		}
		if len(chosen) != 1 {
			return []Problem{{name, 0, fmt.Sprintf("of %s_*.go, %q are compiled for %q, want exactly one", stem, chosen, c)}}
		}
	}
	return nil
}

// configurations are the sets of tags that the program and its tests are built with.
func configurations() (all [][]string) {
	for _, machine := range [][]string{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "arm64"}} {
		for _, binary := range []string{"", "cuda", "coreml"} {
			if machine[0] == "linux" && binary == "coreml" || machine[0] == "darwin" && binary == "cuda" {
				continue
			}
			for _, checks := range []string{"", "invariants"} {
				tags := append(slices.Clone(machine), "unix", "cgo")
				for _, tag := range []string{binary, checks} {
					if tag != "" {
						tags = append(tags, tag)
					}
				}
				all = append(all, tags)
			}
		}
	}
	return all
}

var (
	systems    = []string{"linux", "darwin", "windows", "freebsd"}
	processors = []string{"amd64", "arm64", "386", "arm", "riscv64"}
)

// suffixes are the system and the processor in a file's name, which choose it as a build line does.
func (f *File) suffixes() (tags []string, stem string) {
	stem = strings.TrimSuffix(path.Base(f.Path), ".go")
	for _, known := range [][]string{processors, systems} {
		if i := strings.LastIndexByte(stem, '_'); i > 0 && slices.Contains(known, stem[i+1:]) {
			tags = append(tags, stem[i+1:])
			stem = stem[:i]
		}
	}
	return tags, stem
}

// family is what the file's name shares with its alternatives; ok is false for a file that is always compiled, or never.
func (f *File) family() (stem string, ok bool) {
	tags, stem := f.suffixes()
	if f.Build == nil && len(tags) == 0 || strings.HasPrefix(f.Path, "third_party/") {
		return "", false
	}
	if i := strings.LastIndexByte(stem, '_'); i > 0 && len(tags) == 0 {
		stem = stem[:i]
	}
	return stem, true
}

func (f *File) compiled(tags []string) bool {
	suffixes, _ := f.suffixes()
	for _, s := range suffixes {
		if !slices.Contains(tags, s) {
			return false
		}
	}
	return f.Build == nil || f.Build.Eval(func(tag string) bool { return slices.Contains(tags, tag) })
}
