package ortest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/shammah/shammah-engine/ort"
)

// Library is the file or folder of the native library: SHAMMAH_ORT_LIB, else the repository's build/lib.
// The test is skipped where there is none.
func Library(t testing.TB) string {
	t.Helper()
	if place := os.Getenv(ort.LibraryVariable); place != "" {
		return place
	}
	dir := filepath.Join(Root(t), "build", "lib")
	for _, pattern := range []string{"libonnxruntime.so*", "libonnxruntime*.dylib"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
			return dir
		}
	}
	t.Skipf("no ONNX Runtime in %s: run `make native`", dir)
	return ""
}

// Env is an environment that is open until the test ends. Tests that overlap share one, since a process may have no second.
func Env(t testing.TB) *ort.Env {
	t.Helper()
	place := Library(t)
	env, err := open.take(place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := open.give(); err != nil {
			t.Errorf("ortest: close the environment: %v", err)
		}
	})
	return env
}

// shared counts who uses the environment.
type shared struct {
	mu    sync.Mutex
	env   *ort.Env
	users int
}

var open = &shared{}

func (s *shared) take(place string) (*ort.Env, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		env, err := ort.Open(ort.Options{Library: place, Log: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)})
		if err != nil {
			return nil, err
		}
		s.env = env
	}
	s.users++
	return s.env, nil
}

func (s *shared) give() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	return s.env.Close()
}
