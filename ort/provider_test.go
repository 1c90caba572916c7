package ort_test

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/ort"
)

// thief takes every signal that it can when it is loaded, as GPU drivers take some; it is a plug-in, too, and one that fails.
const thief = `
#include <signal.h>
static void nothing(int n) { (void)n; }
__attribute__((constructor)) static void take(void) {
  for (int n = 1; n < 32; n++) signal(n, nothing);
}
void *CreateEpFactories(void) { return (void *)0; }
`

// witness writes down the signal handlers of the process when it is loaded.
func witness(file string) string {
	return fmt.Sprintf(`
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
__attribute__((constructor)) static void see(void) {
  FILE *f = fopen("%s", "w");
  for (int n = 1; f && n < 32; n++) {
    struct sigaction a;
    if (sigaction(n, NULL, &a) == 0) fprintf(f, "%%d %%p %%x\n", n, (void *)a.sa_sigaction, (unsigned)a.sa_flags & ~0x04000000u); // SA_RESTORER is the C library's own
  }
  if (f) fclose(f);
}
`, file)
}

// handlers are the process's signal handlers, as a library sees them.
func handlers(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "handlers")
	if _, err := (ort.Library{Paths: []string{build(t, "libwitness.so", witness(file))}}).Open(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\n") < 25 {
		t.Fatalf("the witness saw %q, %v", text, err)
	}
	return string(text)
}

// A provider's library that replaces signal handlers takes none from Go: neither Ctrl-C nor the profiler's (yalue/onnxruntime_go#140).
func TestSignalHandlersSurviveProviders(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the libraries of the test are built for Linux")
	}
	env := open(t)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT)
	defer signal.Stop(caught)
	before := handlers(t)
	for _, c := range []struct {
		way  string
		load func(lib string) error
	}{
		{"a library that a provider needs", func(lib string) error {
			_, err := ort.Library{Paths: []string{lib}}.Open()
			return err
		}},
		{"a session", func(lib string) error {
			s, err := env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{Providers: []ort.Provider{{Name: "Abacus", Libraries: []ort.Library{{Paths: []string{lib}}}}}})
			if err == nil {
				s.Close()
				t.Error("a provider that does not exist was accepted")
			}
			return nil
		}},
		{"a plug-in provider", func(lib string) error {
			_, err := env.Plugin(lib)
			return err
		}},
	} {
		if err := c.load(build(t, "libthief.so", thief)); err != nil && c.way != "a plug-in provider" {
			t.Fatalf("%s: %v", c.way, err)
		}
		if after := handlers(t); after != before {
			t.Errorf("%s: signal, handler and flags were\n%s\nand are now\n%s", c.way, before, after)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-caught:
	case <-time.After(5 * time.Second):
		t.Error("the signal did not arrive")
	}
}

// All that is missing is named at once, with what to do.
func TestMissingLibraries(t *testing.T) {
	env := open(t)
	broken := cut(t, 50) // which the system's loader would die of
	p := ort.Provider{Name: "Abacus", Libraries: []ort.Library{
		{Paths: []string{"libbeads.so.1"}, Hint: "no beads (buy some)"},
		{Paths: []string{broken, "libframe.so.1"}, Hint: "no frame"},
		{Paths: []string{"libc.so.6"}},
		{Paths: []string{"libmorebeads.so.1"}, Hint: "no beads (buy some)"},
	}}
	if runtime.GOOS == "darwin" {
		p.Libraries[2].Paths = []string{"libSystem.B.dylib"}
	}
	s, err := env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{Providers: []ort.Provider{p}})
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	for _, want := range []string{"no beads (buy some): no libbeads.so.1, no libmorebeads.so.1; no frame: ", broken, "libframe.so.1"} {
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "libc") {
			t.Errorf("%q, want one line with %q, and nothing of what is there", err, want)
		}
	}
}

func TestPluginRefuses(t *testing.T) {
	env := open(t)
	for _, c := range []struct{ name, path, says string }{
		{"missing", filepath.Join(t.TempDir(), "libplugin.so"), "no such file"},
		{"folder", t.TempDir(), "not a file"},
		{"text", written(t, "no library"), "not a shared library"},
		{"cut", cut(t, 50), "cut short"},
		{"a library, but no plug-in", build(t, "libother.so", "int other(void) { return 1; }"), "has no CreateEpFactories"},
		{"a plug-in that fails", build(t, "libnothing.so", "void *CreateEpFactories(void) { return (void *)0; } void *ReleaseEpFactory(void *f) { return f; }"), ""},
	} {
		for range 2 { // a second try is no better
			s, err := env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{Providers: []ort.Provider{{Plugin: c.path}}})
			if err == nil {
				s.Close()
				t.Errorf("%s: it opened", c.name)
				continue
			}
			if text := err.Error(); !strings.HasPrefix(text, "ort: plug-in provider") || !strings.Contains(text, c.path) || !strings.Contains(text, c.says) || strings.Contains(text, "\n") {
				t.Errorf("%s: %q, want one line with the path and %q", c.name, text, c.says)
			}
		}
	}
	env.Close()
	if _, err := env.Plugin("libplugin.so"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
}

// A real plug-in computes; SHAMMAH_PLUGIN names one that runs on this machine.
func TestPluginComputes(t *testing.T) {
	path := os.Getenv("SHAMMAH_PLUGIN")
	if path == "" {
		t.Skip("SHAMMAH_PLUGIN names no plug-in provider's library")
	}
	env := open(t)
	devices, err := env.Plugin(path)
	if err != nil || len(devices) == 0 {
		t.Fatalf("devices %v, %v", devices, err)
	}
	t.Logf("devices: %+v", devices)
	for want, p := range map[string]ort.Provider{"it has no provider Abacus, only ": {Name: "Abacus"}, "it has no provider on loom, only ": {Device: "loom"}} {
		p.Plugin = path
		if s, err := env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{Providers: []ort.Provider{p}}); err == nil {
			s.Close()
			t.Errorf("%+v: it opened", p)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	s, err := env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{RecordPlacement: true, Providers: []ort.Provider{{Plugin: path}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nodes, err := s.Placement()
	if err != nil || len(nodes) != 1 {
		t.Fatalf("placement %v, %v", nodes, err)
	}
	t.Logf("placement: %+v", nodes)
	c := call(t, s, []string{"in"}, []string{"out"})
	in, out := tensor(t, env, ort.Float32, []float32{1, -2}, 2), tensor(t, env, ort.Float32, []float32{0, 0}, 2)
	c.SetInput(0, in)
	c.SetOutput(0, out)
	if err := c.Run(nil); err != nil {
		t.Fatal(err)
	}
	if got := ort.View[float32](out); got[0] != -1 || got[1] != 2 {
		t.Errorf("got %v, want -1 and 2", got)
	}
}
