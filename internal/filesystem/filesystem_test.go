package filesystem

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for path, want := range map[string]string{
		"~": home, "~/": home, "~/a b": filepath.Join(home, "a b"), "~x/a": "~x/a", "a/~/b": "a/~/b", "": "", "/~": "/~", "./~": "./~",
	} {
		got, err := ExpandHome(path)
		if same := Expand(path, home); err != nil || got != want || same != want {
			t.Errorf("%q: got %q, %v and %q; want %q", path, got, err, same, want)
		}
	}
}

func TestWithoutAHome(t *testing.T) {
	t.Setenv("HOME", "")
	if got, err := ExpandHome("~/notes"); err == nil || !strings.Contains(err.Error(), "expand ~/notes") {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ExpandHome("notes"); err != nil || got != "notes" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSyncDir(t *testing.T) {
	dir := t.TempDir()
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := SyncDir(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was synced")
	}
}
