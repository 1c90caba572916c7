// Package tidy holds the project's style as rules over its source files; its tests apply them to this repository. docs/STYLE.md says why.
package tidy

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Tree is the source files of a repository, sorted by path.
type Tree struct {
	Go    []*File
	Other []*File // C, headers, Rust, Python: only their length and place are looked at
}

// File is one source file. Path is relative to the repository's root, with slashes.
type File struct {
	Path   string
	Source string
	AST    *ast.File       // of a Go file
	Build  constraint.Expr // its //go:build line, nil when there is none
	fset   *token.FileSet
}

// Problem is one breach of a rule, at a line of a file (0 = the whole file).
type Problem struct {
	Path string
	Line int
	Text string
}

func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text) }

// Package is the folder of the file, which is the package's name within the module; "." is the root.
func (f *File) Package() string { return path.Dir(f.Path) }

// Test says whether the file is compiled for tests only.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Generated says whether a program wrote the file, by the line that Go's tools look for.
func (f *File) Generated() bool { return f.AST != nil && ast.IsGenerated(f.AST) }

// Lines is how many lines the file has.
func (f *File) Lines() int { return strings.Count(f.Source, "\n") }

func (f *File) at(n ast.Node, format string, args ...any) Problem {
	return Problem{f.Path, f.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...)}
}

// Load reads the source files below the root of fsys. Hidden folders, testdata, build output and other people's packages are left out.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		return t.add(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("tidy: reading the source: %w", err)
	}
	return t, nil
}

func skipped(dir string) bool {
	switch base := path.Base(dir); base {
	case ".":
		return false
	case "testdata", "vendor", "target", "node_modules", "__pycache__":
		return true
	default:
		return strings.HasPrefix(base, ".") || path.Dir(dir) == "build" && base != "package"
	}
}

func (t *Tree) add(fsys fs.FS, name string) error {
	switch path.Ext(name) {
	case ".go", ".c", ".h", ".rs", ".py":
	default:
		return nil
	}
	source, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if path.Ext(name) != ".go" {
		t.Other = append(t.Other, &File{Path: name, Source: string(source)})
		return nil
	}
	f, err := parse(name, string(source))
	if err != nil {
		return err
	}
	t.Go = append(t.Go, f)
	return nil
}

func parse(name, source string) (*File, error) {
	f := &File{Path: name, Source: source, fset: token.NewFileSet()}
	var err error
	if f.AST, err = parser.ParseFile(f.fset, name, source, parser.ParseComments); err != nil {
		return nil, err
	}
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			if c.Pos() < f.AST.Package && constraint.IsGoBuild(c.Text) {
				if f.Build, err = constraint.Parse(c.Text); err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	return f, nil
}

// packages groups the Go files by folder; compiled leaves test files out.
func (t *Tree) packages(compiled bool) (names []string, files map[string][]*File) {
	files = map[string][]*File{}
	for _, f := range t.Go {
		if compiled && f.Test() {
			continue
		}
		files[f.Package()] = append(files[f.Package()], f)
	}
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, files
}
