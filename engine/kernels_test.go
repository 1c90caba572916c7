package engine

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// TestMain keeps what the tests remember about models out of the user's cache folder.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "shammah-engine-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("SHAMMAH_CHECKS", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// The real chat model that lies beside the repository where it is developed.
func realModel(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "models", "smollm2-135m-instruct", "genai-int4")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the real model SmolLM2-135M is not here (%v)", err)
	}
	return dir
}

// Our kernels give the same tokens however the work is cut: chunks, threads, rungs, rows of a batch, and from run to run.
func TestKernelsSameTokens(t *testing.T) {
	g := readGolden(t)
	want := make([][]int32, len(g.Prompts))
	first := openFixture(t, "b-int4", Options{Threads: 1})
	if why := first.Kernels(); why != "" {
		t.Fatalf("our kernels are not used: %s", why)
	}
	for i, prompt := range g.Prompts {
		want[i] = tokens(t, first, Request{Tokens: prompt, MaxTokens: 64, IgnoreEnd: true})
	}
	best := cpu.Rung()
	defer cpu.SetRung(best)
	for _, rung := range cpu.Rungs() {
		if err := cpu.SetRung(rung); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Threads: 2}, {Threads: 3, Chunk: 7}, {Threads: 1, Chunk: 1}, {Threads: 2, Chunk: 16}} {
			m := openFixture(t, "b-int4", o)
			for i, prompt := range g.Prompts {
				if got := tokens(t, m, Request{Tokens: prompt, MaxTokens: 64, IgnoreEnd: true}); !slices.Equal(got, want[i]) {
					t.Errorf("%s, %d threads, chunks of %d, prompt of %d tokens:\ngot  %v\nwant %v", rung, o.Threads, o.Chunk, len(prompt), got, want[i])
				}
			}
		}
	}
	if err := cpu.SetRung(best); err != nil {
		t.Fatal(err)
	}
	for _, rows := range [][]int{{0, 1, 2, 3}, {3, 0}, {1, 1, 3, 2, 0}} {
		var requests []Request
		for _, i := range rows {
			requests = append(requests, Request{Tokens: g.Prompts[i], MaxTokens: 64, IgnoreEnd: true})
		}
		got := batch(t, first, requests)
		for n, i := range rows {
			if !slices.Equal(got[n], want[i]) {
				t.Errorf("rows %v, row %d:\ngot  %v\nwant %v", rows, n, got[n], want[i])
			}
		}
	}
}

// The derived graph agrees with the original, on every model at hand: the same comparison that a first start makes.
func TestKernelsAgree(t *testing.T) {
	probe := func(t *testing.T, open func(Options) (*Model, error), k Kernels) [][]float32 {
		m, err := open(Options{Kernels: k, NoText: true, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if why := m.Kernels(); (why == "") != (k == KernelsAuto) {
			t.Fatalf("kernels %d: got %q", k, why)
		}
		rows, err := m.probe()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	env := ortest.Env(t)
	for name, open := range map[string]func(t *testing.T, o Options) (*Model, error){
		"tiny":   func(t *testing.T, o Options) (*Model, error) { return OpenFS(env, tiny.FS(), o) },
		"b-int4": func(t *testing.T, o Options) (*Model, error) { return Open(env, "testdata/b-int4", o) },
		"real":   func(t *testing.T, o Options) (*Model, error) { return Open(env, realModel(t), o) },
	} {
		t.Run(name, func(t *testing.T) {
			with := func(o Options) (*Model, error) { return open(t, o) }
			exact := probe(t, with, KernelsExact)
			ours, runtimes := compare(exact, probe(t, with, KernelsAuto)), compare(exact, probe(t, with, KernelsOff))
			t.Logf("ours %v; the runtime's %v", ours, runtimes)
			if !ours.ok() {
				t.Errorf("ours: got %v, below the limits", ours)
			}
			if ours.Error > 1.5*runtimes.Error+0.01 {
				t.Errorf("got an error of %.4f; want about the runtime's own with activations of 8 bits, %.4f", ours.Error, runtimes.Error)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	row := func(f func(i int) float64) [][]float32 {
		r := make([]float32, 1000)
		for i := range r {
			r[i] = float32(f(i))
		}
		return [][]float32{r}
	}
	want := row(func(i int) float64 { return math.Sin(float64(i)) })
	for _, c := range []struct {
		name string
		got  func(i int) float64
		ok   bool
	}{
		{"the same", func(i int) float64 { return math.Sin(float64(i)) }, true},
		{"a little off", func(i int) float64 { return math.Sin(float64(i)) + 0.03*math.Cos(7*float64(i)) }, true},
		{"another row", func(i int) float64 { return math.Sin(float64(i + 1)) }, false},
		{"half", func(i int) float64 { return 0.5 * math.Sin(float64(i)) }, false},
		{"one far off", func(i int) float64 { return math.Sin(float64(i)) + 2*float64(i/999) }, false},
		{"NaN", func(i int) float64 { return math.NaN() }, false},
		{"infinite", func(i int) float64 { return math.Inf(1) }, false},
	} {
		if a := compare(want, row(c.got)); a.ok() != c.ok {
			t.Errorf("%s: got %v: %v, want %v", c.name, a, a.ok(), c.ok)
		}
	}
	if a := compare(want, nil); a.ok() {
		t.Errorf("no rows: got %v, want it refused", a)
	}
}

// A comparison that failed is remembered, and the original runs.
func TestCheckRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS("testdata/b-int4")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHAMMAH_CHECKS", t.TempDir())
	open := func() string {
		m, err := Open(ortest.Env(t), dir, Options{NoText: true})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if warned := strings.Contains(strings.Join(m.Spec().Warnings, "\n"), "not our kernels"); warned != (m.Kernels() != "") {
			t.Errorf("kernels %q: got the warnings %q", m.Kernels(), m.Spec().Warnings)
		}
		return m.Kernels()
	}
	if why := open(); why != "" {
		t.Fatalf("first: got %q, want our kernels", why)
	}
	entries, err := os.ReadDir(os.Getenv("SHAMMAH_CHECKS"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %v, %v; want one remembered comparison", entries, err)
	}
	file := filepath.Join(os.Getenv("SHAMMAH_CHECKS"), entries[0].Name())
	if err := os.WriteFile(file, []byte(`{"Cosine":0.5,"Error":1,"Largest":3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := open(); !strings.Contains(why, "cosine 0.5") {
		t.Errorf("after a failed comparison: got %q, want the original and why", why)
	}
	if err := os.WriteFile(file, []byte("half of a fi"), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := open(); why != "" {
		t.Errorf("after a damaged file: got %q, want a new comparison", why)
	}
}

// A context too small for the whole comparison is compared as far as it goes, and nothing is remembered.
func TestCheckInASmallContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS("testdata/b-int4")); err != nil {
		t.Fatal(err)
	}
	checks := t.TempDir()
	t.Setenv("SHAMMAH_CHECKS", checks)
	for _, context := range []int{1, 6, 17, 63} {
		m, err := Open(ortest.Env(t), dir, Options{NoText: true, Context: context})
		if err != nil {
			t.Fatal(err)
		}
		if why := m.Kernels(); why != "" {
			t.Errorf("a context of %d: got %q, want our kernels", context, why)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(checks); err != nil || len(entries) > 0 {
		t.Errorf("got %v, %v; want no comparison remembered", entries, err)
	}
}

// What a step reads is the packed matrices with our kernels, and else what the file has of them; tables that are looked up are in neither.
func TestStepBytes(t *testing.T) {
	for _, c := range []struct {
		name      string
		least, of float64 // shares of the graph's bytes
	}{{"b-int4", 0.3, 1.3}, {"b-fp32", 0.3, 1}, {"a-fp32", 0.3, 1}} {
		for _, kernels := range []Kernels{KernelsAuto, KernelsOff} {
			m := openFixture(t, c.name, Options{NoText: true, Kernels: kernels})
			got, file := float64(m.StepBytes()), float64(m.Spec().Bytes)
			if got < c.least*file || got > c.of*file {
				t.Errorf("%s, kernels %d: %v bytes a step, want %v to %v of the file's %v", c.name, kernels, got, c.least, c.of, file)
			}
		}
	}
}

// Scales that are NaN are an error of the weights, as the runtime would compute them, never an answer.
func TestKernelsBadScale(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS("testdata/b-int4")); err != nil {
		t.Fatal(err)
	}
	m := openFixture(t, "b-int4", Options{NoText: true})
	scales := m.packed.plan.Matrices[0].Scales.External
	f, err := os.OpenFile(filepath.Join(dir, scales.Location), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0, 0, 0xc0, 0x7f}, scales.Offset); err != nil {
		t.Fatal(err)
	}
	f.Close()
	bad, err := Open(ortest.Env(t), dir, Options{NoText: true})
	if err == nil {
		bad.Close()
	}
	if !errors.Is(err, cpu.ErrScale) {
		t.Errorf("got %v, want %v", err, cpu.ErrScale)
	}
}

// A float16 cache changes the logits about as much as activations of 8 bits do.
func TestHalfCache(t *testing.T) {
	open := func(o Options) *Model {
		m, err := OpenFS(ortest.Env(t), tiny.FS(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	rows := func(m *Model) [][]float32 {
		got, err := m.probe()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	whole, half := open(Options{}), open(Options{HalfCache: true})
	if half.Spec().KVType != "float16" || whole.Spec().KVType != "float32" {
		t.Fatalf("got caches of %s and %s; want float32 and float16", whole.Spec().KVType, half.Spec().KVType)
	}
	if m, err := OpenFS(ortest.Env(t), tiny.FS(), Options{HalfCache: true, Kernels: KernelsOff}); err == nil || !strings.Contains(err.Error(), "float16 cache") {
		t.Errorf("without our kernels: got %v, %v; want a refusal", m, err)
	}
	if a := compare(rows(whole), rows(half)); a.Error > 0.1 || a.Error == 0 {
		t.Errorf("got %v; want what 8-bit activations make of a little rounding, an error of at most 0.1, and some", a)
	}
}
