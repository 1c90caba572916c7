package ort_test

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// open makes the environment of one test. Whatever the test opens must be closed again at its end.
func open(t testing.TB) *ort.Env {
	t.Helper()
	return openWith(t, zerolog.Nop())
}

func openWith(t testing.TB, log zerolog.Logger) *ort.Env {
	t.Helper()
	env, err := ort.Open(ort.Options{Library: ortest.Library(t), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		env.Close()
		if n := ort.Live(); n != (ort.Counts{}) {
			t.Errorf("still open at the end of the test: %s", n)
		}
	})
	return env
}

// load makes a session that the test's end closes.
func load(t testing.TB, env *ort.Env, graph []byte) *ort.Session {
	t.Helper()
	s, err := env.OpenSessionBytes(graph, ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func call(t testing.TB, s *ort.Session, inputs, outputs []string) *ort.Call {
	t.Helper()
	c, err := s.NewCall(inputs, outputs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tensor[T ort.Element](t testing.TB, env *ort.Env, e ort.ElementType, data []T, shape ...int64) *ort.Value {
	t.Helper()
	v, err := env.NewTensor(e, shape...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	if n := copy(ort.View[T](v), data); n != len(data) {
		t.Fatalf("%d of %d elements fit %v", n, len(data), shape)
	}
	return v
}
