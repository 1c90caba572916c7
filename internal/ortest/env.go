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

// Env is the environment of this test process, opened by the first test that asks for it and never closed.
func Env(t testing.TB) *ort.Env {
	t.Helper()
	place := Library(t)
	env, err := open(place)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

var open = onceOpen()

func onceOpen() func(place string) (*ort.Env, error) {
	var once sync.Once
	var env *ort.Env
	var err error
	return func(place string) (*ort.Env, error) {
		once.Do(func() {
			env, err = ort.Open(ort.Options{Library: place, Log: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)})
		})
		return env, err
	}
}
