package engine

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/internal/sys"
	"github.com/shammah/shammah-engine/ort"
)

// A model that is open twice has its packed weights once, whatever else differs, and keeps them until the last one is closed.
func TestOpenTwiceSharesWeights(t *testing.T) {
	env := ortest.Env(t)
	dir := copyFixture(t, "b-int4")
	open := func(o Options) (*Model, int64) {
		before := ort.Live().Buffers
		m, err := Open(env, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return m, ort.Live().Buffers - before
	}
	start := ort.Live().Buffers
	first, alone := open(Options{Threads: 1})
	q := Request{Tokens: []int32{1, 2, 3}, MaxTokens: 16, IgnoreEnd: true}
	want := tokens(t, first, q)
	second, beside := open(Options{Threads: 2, Context: 40, NoText: true})
	if beside != alone-1 {
		t.Errorf("%d buffers for the second and %d for the first, want one less", beside, alone)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	q.TokensOnly = true
	if got := tokens(t, second, q); !slices.Equal(got, want) {
		t.Errorf("after the first was closed: got %v, want %v", got, want)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if left := ort.Live().Buffers - start; left != 0 {
		t.Errorf("%d buffers are left", left)
	}
	third, again := open(Options{Threads: 1})
	if again != alone {
		t.Errorf("%d buffers when opened anew, want %d", again, alone)
	}
	third.Close()
}

// From the end of a request on no thread works, whoever computes: what is measured is processor time, and the least of three.
func TestIdleTakesNoTime(t *testing.T) {
	for _, k := range []Kernels{KernelsAuto, KernelsOff} {
		m := openFixture(t, "b-int4", Options{Threads: 4, Kernels: k})
		least := time.Duration(1 << 62)
		for range 3 { // the test's own process may have something to do
			tokens(t, m, Request{Tokens: []int32{1, 2, 3}, MaxTokens: 16, IgnoreEnd: true})
			before := processTime(t)
			time.Sleep(time.Second)
			if least = min(least, processTime(t)-before); least < time.Second/100 {
				break
			}
		}
		if least >= time.Second/100 {
			t.Errorf("kernels %d: %v of processor time in an idle second, want less than 10 ms", k, least)
		}
	}
}

func processTime(t *testing.T) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestFitContext(t *testing.T) {
	m := openFixture(t, "b-int4", Options{})
	need := func(context int) int64 {
		e, err := m.spec.MemoryEstimate(model.Use{Context: context, Text: true})
		if err != nil {
			t.Fatal(err)
		}
		return e.Total()
	}
	for _, c := range []struct {
		name      string
		asked     int
		available int64
		want      int
		refused   bool
	}{
		{"there is enough", 0, need(4096), 4096, false},
		{"half of it fits", 0, need(2048), 2048, false},
		{"the shortest fits", 0, need(512), 512, false},
		{"not even the shortest", 0, need(512) - 1, 4096, true},
		{"another was asked for and fits", 1024, need(1024), 1024, false},
		{"another was asked for and does not", 4096, need(2048), 4096, true},
	} {
		m.context, m.notes = max(c.asked, 1), nil
		if c.asked == 0 {
			m.context = 4096
		}
		err := m.fitContext(Options{Context: c.asked}, c.available)
		if m.context != c.want || errors.Is(err, ErrMemory) != c.refused || (len(m.notes) > 0) != (c.want < 4096 && c.asked == 0) {
			t.Errorf("%s: a context of %d, %q, %v; want %d, refused %v", c.name, m.context, m.notes, err, c.want, c.refused)
		}
		if c.refused && !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: %v does not say what to do", c.name, err)
		}
	}
}

// A cache takes the memory of the tokens that it holds, not of those that it has room for.
func TestUntouchedCacheTakesNoMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what a process takes now is known on Linux only")
	}
	resident := func() int64 {
		u, err := sys.ReadUsage()
		if err != nil {
			t.Fatal(err)
		}
		return u.Resident
	}
	for _, shared := range []bool{true, false} {
		m := &Model{env: ortest.Env(t), context: 1 << 20, spec: &model.Spec{Layers: 4, KVHeads: 4, HeadDim: 64, KVType: "float32", Shared: shared}}
		before := resident()
		cache, err := m.openCache(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := cache.Prepare(8); err != nil {
			t.Fatal(err)
		}
		if more := resident() - before; more > 32<<20 {
			t.Errorf("shared %v: %d MiB are resident before any token, of a cache for a million of them", shared, more>>20)
		}
		cache.Close()
	}
}
