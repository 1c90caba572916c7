package tidy_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/internal/tidy"
)

var update = flag.Bool("update", false, "write the arrows that the code has into docs/ARCHITECTURE.md")

const architecture = "docs/ARCHITECTURE.md"

// TestRepository applies every rule to this repository.
func TestRepository(t *testing.T) {
	tree, err := tidy.Load(os.DirFS(ortest.Root(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Go) == 0 {
		t.Fatal("no Go file found")
	}
	rules := []struct {
		name  string
		check func() []tidy.Problem
	}{
		{"format", tree.Format},
		{"length", tree.Length},
		{"docs", tree.Docs},
		{"names", tree.Names},
		{"init", tree.NoInit},
		{"variables", tree.Variables},
		{"cgo", tree.Cgo},
		{"signatures", tree.Signatures},
		{"tags", tree.Tags},
		{"layers", tree.Arrows().Layers},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			report(t, rule.check())
		})
	}
}

// TestArrows holds the imports against the block in docs/ARCHITECTURE.md.
func TestArrows(t *testing.T) {
	root := ortest.Root(t)
	tree, err := tidy.Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, filepath.FromSlash(architecture))
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		changed, err := tree.Arrows().Replace(string(document))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	allowed, err := tidy.ParseArrows(string(document))
	if err != nil {
		t.Fatalf("%s: %v", architecture, err)
	}
	report(t, tree.Arrows().Compare(allowed, architecture))
}

func report(t *testing.T, problems []tidy.Problem) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}
