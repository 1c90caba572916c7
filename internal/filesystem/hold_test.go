package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestHoldAndSeize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	held, free, err := Hold(func() (string, error) { return dir, os.Mkdir(dir, 0o700) })
	if err != nil || held != dir {
		t.Fatalf("got %q, %v", held, err)
	}
	if _, ok := Seize(dir); ok {
		t.Error("a folder was seized that somebody holds")
	}
	free()
	give, ok := Seize(dir)
	if !ok {
		t.Fatal("a folder that nobody holds could not be seized")
	}
	if _, ok := Seize(dir); ok {
		t.Error("a folder was seized twice")
	}
	give()
	if _, ok := Seize(filepath.Join(dir, "none")); ok {
		t.Error("nothing was seized")
	}
	broken := errors.New("no space left")
	if _, _, err := Hold(func() (string, error) { return "", broken }); err != broken {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// However fast others sweep: who holds a folder has it.
func TestHoldWhileOthersSweep(t *testing.T) {
	parent := t.TempDir()
	stop := make(chan struct{})
	var sweepers sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				entries, _ := os.ReadDir(parent)
				for _, e := range entries {
					dir := filepath.Join(parent, e.Name())
					if free, ok := Seize(dir); ok {
						_ = os.RemoveAll(dir)
						free()
					}
				}
			}
		})
	}
	for i := range 300 {
		dir, free, err := Hold(func() (string, error) { return os.MkdirTemp(parent, "work") })
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatalf("folder %d: %v", i, err)
		}
		free()
	}
	close(stop)
	sweepers.Wait()
}
