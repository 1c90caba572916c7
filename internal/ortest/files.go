// Package ortest gives tests what lies outside their own folder: the native library, opened once, and the shared files beside
// the repository. A test whose file is not there is skipped with a word that names it.
package ortest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Root is the repository's root: the nearest folder upwards from the test's that holds go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("ortest: looking for the repository's root: %v", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			t.Fatalf("ortest: no go.mod in %s or above it", dir)
		}
	}
}

// Shared is the path of a file or folder of ../shared, the files that lie beside the repository and are too large or not ours
// to commit: Shared(t, "models/smollm2-135m-instruct"). The test is skipped where it is absent.
func Shared(t testing.TB, rel string) string {
	t.Helper()
	path := filepath.Join(Root(t), "..", "shared", filepath.FromSlash(rel))
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		t.Skipf("no ../shared/%s beside the repository", rel)
	case err != nil:
		t.Fatalf("ortest: looking for ../shared/%s: %v", rel, err)
	}
	return path
}
