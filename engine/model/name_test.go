package model

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHubName(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "models")
	dir := filepath.Join(parent, "mine")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range []struct{ dir, want string }{
		{"", "embedded"}, {".", "mine"}, {"..", "models"}, {"../mine/", "mine"}, {"/a/my model", "my model"},
		{"/hub/models--owner--the--name/snapshots/abc", "owner/the--name"},
	} {
		if got := hubName(c.dir); got != c.want {
			t.Errorf("hubName(%q) = %q, want %q", c.dir, got, c.want)
		}
	}
}
