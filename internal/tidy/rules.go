package tidy

import (
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"slices"
	"strings"
)

const (
	linesPerFile     = 500
	linesPerFunction = 80
)

// Format: every Go file is as gofmt writes it.
func (t *Tree) Format() (problems []Problem) {
	for _, f := range t.Go {
		formatted, err := format.Source([]byte(f.Source))
		if err != nil || string(formatted) != f.Source {
			problems = append(problems, Problem{f.Path, 0, "is not formatted: run gofmt"})
		}
	}
	return problems
}

// Length: a file has at most 500 lines, whatever its language, and a Go function at most 80.
func (t *Tree) Length() (problems []Problem) {
	for _, f := range slices.Concat(t.Go, t.Other) {
		if f.Generated() {
			continue
		}
		if n := f.Lines(); n > linesPerFile {
			problems = append(problems, Problem{f.Path, 0, fmt.Sprintf("has %d lines, %d are allowed", n, linesPerFile)})
		}
		if f.AST == nil {
			continue
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > linesPerFunction {
				problems = append(problems, f.at(fn, "%s has %d lines, %d are allowed", fn.Name.Name, n, linesPerFunction))
			}
		}
	}
	return problems
}

// Docs: every package has a comment that begins as Go's own do, "Package x" or "Command x".
func (t *Tree) Docs() (problems []Problem) {
	names, files := t.packages(true)
	for _, name := range names {
		want := "Package " + files[name][0].AST.Name.Name + " "
		if files[name][0].AST.Name.Name == "main" {
			want = "Command " + path.Base(name) + " "
		}
		documented := slices.ContainsFunc(files[name], func(f *File) bool {
			return f.AST.Doc != nil && strings.HasPrefix(f.AST.Doc.Text(), want)
		})
		if !documented {
			problems = append(problems, Problem{name, 0, fmt.Sprintf("has no package comment that begins with %q", want)})
		}
	}
	return problems
}

// Names: a package says what it is about; these words say nothing.
func (t *Tree) Names() (problems []Problem) {
	empty := []string{"util", "utils", "common", "types", "type", "manager", "managers", "helper", "helpers", "misc", "base", "lib"}
	names, files := t.packages(false)
	for _, name := range names {
		f := files[name][0]
		for _, word := range []string{path.Base(name), strings.TrimSuffix(f.AST.Name.Name, "_test")} {
			if slices.Contains(empty, word) {
				problems = append(problems, Problem{name, 0, fmt.Sprintf("the name %q says nothing about the package", word)})
				break
			}
		}
	}
	return problems
}

// NoInit: nothing happens because a package is imported.
func (t *Tree) NoInit() (problems []Problem) {
	for _, f := range t.Go {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				problems = append(problems, f.at(fn, "init runs behind the reader's back: call it from main"))
			}
		}
	}
	return problems
}
