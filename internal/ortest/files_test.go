package ortest

import (
	"os"
	"path/filepath"
	"testing"
)

// tree makes <tmp>/repo/deep/er with a go.mod in repo, moves the test into the deepest folder, and returns <tmp>.
func tree(t *testing.T) string {
	t.Helper()
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(tmp, "repo", "deep", "er")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "repo", "go.mod"), []byte("module m\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	return tmp
}

func TestRoot(t *testing.T) {
	tmp := tree(t)
	if got, want := Root(t), filepath.Join(tmp, "repo"); got != want {
		t.Errorf("root: got %s, want %s", got, want)
	}
}

func TestShared(t *testing.T) {
	tmp := tree(t)
	want := filepath.Join(tmp, "shared", "a", "b")
	if err := os.MkdirAll(want, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Shared(t, "a/b"); got != want {
		t.Errorf("shared: got %s, want %s", got, want)
	}
	skipped := t.Run("absent", func(t *testing.T) {
		defer func() {
			if !t.Skipped() {
				t.Error("a file that is absent did not skip the test")
			}
		}()
		Shared(t, "a/c")
	})
	if !skipped {
		t.Error("the subtest failed")
	}
}
