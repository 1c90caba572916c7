package plain_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/plain"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// Exports of other kinds either compute the same in plain form, or are refused with the reason.
func TestFixtures(t *testing.T) {
	env := ortest.Env(t)
	for _, test := range []struct{ name, refused string }{
		{"b-int4", ""}, {"b-fp32", ""},
		{"a-fp32", "past_key_values.0.key"}, {"a-fp16", "it computes in float16"}, {"a-combined", "past_0"}, {"a-nocache", "attention_mask"},
	} {
		fsys := os.DirFS(filepath.Join("..", "testdata", test.name))
		folder, err := plain.FS(fsys, 64)
		if test.refused != "" {
			if !errors.Is(err, plain.ErrRefused) || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: got %v, want it refused: %s", test.name, err, test.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		o := engine.Options{Context: 64, Kernels: engine.KernelsExact, NoText: true}
		want, err := engine.Open(env, filepath.Join("..", "testdata", test.name), o)
		if err != nil {
			t.Fatal(err)
		}
		defer want.Close()
		got, err := engine.OpenFS(env, folder, o)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		defer got.Close()
		if a, err := engine.Agree(want, got); err != nil || a.Error > 1e-4 || a.Largest > 1e-3 {
			t.Errorf("%s: got %s, %v", test.name, a, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, window := range []int{0, -1, 4097} {
		if _, err := plain.FS(tiny.FS(), window); err == nil {
			t.Errorf("a window of %d tokens is taken", window)
		}
	}
	if _, err := plain.FS(tiny.FS(), 2049); !errors.Is(err, plain.ErrRefused) || !strings.Contains(err.Error(), "rotary tables") {
		t.Errorf("more tokens than the rotary tables have: %v", err)
	}
	whole, err := fs.ReadFile(tiny.FS(), "model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1000, len(whole) / 2, len(whole) - 1} {
		broken := fstest.MapFS{"model.onnx": {Data: whole[:n]}}
		if _, err := plain.FS(broken, 64); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d of %d bytes: %v, want an error of one line", n, len(whole), err)
		}
	}
}
