package ort_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// handles is one of each kind.
type handles struct {
	env     *ort.Env
	session *ort.Session
	buffer  *ort.Buffer
	value   *ort.Value
	call    *ort.Call
	options *ort.RunOptions
	adapter *ort.Adapter
}

func openAll(t *testing.T) handles {
	t.Helper()
	env, err := ort.Open(ort.Options{Library: ortest.Library(t)})
	if err != nil {
		t.Fatal(err)
	}
	h := handles{env: env}
	var errs [6]error
	h.session, errs[0] = env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{Threads: 1})
	h.buffer, errs[1] = env.NewBuffer(1 << 17)
	h.value, errs[2] = h.buffer.Tensor(ort.Float32, 64, 4)
	h.call, errs[3] = h.session.NewCall([]string{"in"}, []string{"out"})
	h.options, errs[4] = env.NewRunOptions()
	h.adapter, errs[5] = env.OpenAdapter(filepath.Join("testdata", "two.onnx_adapter"))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	h.call.SetInput(0, h.value)
	return h
}

func (h handles) closeAll(t *testing.T) {
	t.Helper()
	for range 2 { // twice: Close is idempotent
		for _, c := range []interface{ Close() error }{h.adapter, h.options, h.call, h.value, h.buffer, h.session, h.env} {
			if err := c.Close(); err != nil {
				t.Errorf("close %T: %v", c, err)
			}
		}
	}
	if n := ort.Live(); n != (ort.Counts{}) {
		t.Errorf("still open: %s", n)
	}
}

// closing gives back what a use has made.
func closing[T interface{ Close() error }](made T, err error) error {
	if err == nil {
		err = made.Close()
	}
	return err
}

func TestUseAfterClose(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(handles) error
		use   func(handles) error
	}{
		{"env session", func(h handles) error { return h.env.Close() }, func(h handles) error {
			return closing(h.env.OpenSessionBytes(oneGraph("Neg"), ort.SessionOptions{}))
		}},
		{"env buffer", func(h handles) error { return h.env.Close() }, func(h handles) error { return closing(h.env.NewBuffer(8)) }},
		{"env tensor", func(h handles) error { return h.env.Close() }, func(h handles) error { return closing(h.env.NewTensor(ort.Int64, 1)) }},
		{"env options", func(h handles) error { return h.env.Close() }, func(h handles) error { return closing(h.env.NewRunOptions()) }},
		{"env adapter", func(h handles) error { return h.env.Close() }, func(h handles) error { return closing(h.env.OpenAdapter("x")) }},
		{"env stats", func(h handles) error { return h.env.Close() }, func(h handles) error { _, err := h.env.AllocatorStats(); return err }},
		{"session call", func(h handles) error { return h.session.Close() }, func(h handles) error { return closing(h.session.NewCall(nil, []string{"out"})) }},
		{"session metadata", func(h handles) error { return h.session.Close() }, func(h handles) error { _, err := h.session.Metadata(); return err }},
		{"session placement", func(h handles) error { return h.session.Close() }, func(h handles) error { _, err := h.session.Placement(); return err }},
		{"session stats", func(h handles) error { return h.session.Close() }, func(h handles) error { _, err := h.session.AllocatorStats(); return err }},
		{"session run", func(h handles) error { return h.session.Close() }, func(h handles) error { return h.call.Run(nil) }},
		{"buffer tensor", func(h handles) error { return h.buffer.Close() }, func(h handles) error { return closing(h.buffer.Tensor(ort.Int64, 0, 1)) }},
		{"value reshape", func(h handles) error { return h.value.Close() }, func(h handles) error { return h.value.Reshape(2) }},
		{"value run", func(h handles) error { return h.value.Close() }, func(h handles) error { return h.call.Run(nil) }},
		{"call run", func(h handles) error { return h.call.Close() }, func(h handles) error { return h.call.Run(nil) }},
		{"call output", func(h handles) error { return h.call.Close() }, func(h handles) error { return closing(h.call.Output(0)) }},
		{"options run", func(h handles) error { return h.options.Close() }, func(h handles) error { return h.call.Run(h.options) }},
		{"options config", func(h handles) error { return h.options.Close() }, func(h handles) error { return h.options.SetConfig("a", "b") }},
		{"options resume", func(h handles) error { return h.options.Close() }, func(h handles) error { return h.options.Resume() }},
		{"options adapter", func(h handles) error { return h.options.Close() }, func(h handles) error { return h.options.AddAdapter(h.adapter) }},
		{"adapter", func(h handles) error { return h.adapter.Close() }, func(h handles) error { return h.options.AddAdapter(h.adapter) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openAll(t)
			defer h.closeAll(t)
			if err := test.use(h); errors.Is(err, ort.ErrClosed) {
				t.Fatalf("before: %v", err)
			}
			if err := test.close(h); err != nil {
				t.Fatal(err)
			}
			if err := test.use(h); !errors.Is(err, ort.ErrClosed) {
				t.Errorf("after: %v, want ErrClosed", err)
			}
		})
	}
	t.Run("views", func(t *testing.T) {
		h := openAll(t)
		h.closeAll(t)
		if h.buffer.Bytes() != nil || ort.View[float32](h.value) != nil || h.env.Providers() != nil {
			t.Error("something of a closed handle can be seen")
		}
		h.options.Terminate() // does nothing, and does not crash
	})
}

// Parents closed first: they refuse new work, their C objects live as long as their children need them.
func TestParentsClosedFirst(t *testing.T) {
	h := openAll(t)
	if err := h.call.Run(nil); err != nil {
		t.Fatal(err)
	}
	out, err := h.call.Output(0)
	if err != nil {
		t.Fatal(err)
	}
	h.env.Close()
	h.buffer.Close()
	if _, err := ort.Open(ort.Options{Library: ortest.Library(t)}); err == nil || !strings.Contains(err.Error(), "session 1") {
		t.Errorf("a second environment beside what is left of the first: %v", err)
	}
	ort.View[float32](h.value)[3] = 42
	if err := h.call.Run(nil); err != nil {
		t.Errorf("a call whose environment is closed: %v", err)
	}
	h.options.AddAdapter(h.adapter)
	h.adapter.Close()
	if n := ort.Live(); n.Envs != 1 || n.Buffers != 1 || n.Adapters != 1 {
		t.Errorf("parents went before their children: %s", n)
	}
	h.session.Close()
	if got := ort.View[float32](out); len(got) != 4 {
		t.Errorf("an output does not hold its session: %v", got)
	}
	out.Close()
	h.closeAll(t)
}

func TestOneEnvironment(t *testing.T) {
	for range 3 {
		env, err := ort.Open(ort.Options{Library: ortest.Library(t)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ort.Open(ort.Options{Library: ortest.Library(t)}); err == nil || !strings.Contains(err.Error(), "open already") {
			t.Errorf("a second environment: %v", err)
		}
		env.Close()
	}
}

// Many rounds leave nothing behind (yalue/onnxruntime_go #48, #113, #126).
func TestChurn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc/self/statm to read the resident size from")
	}
	env := open(t)
	graph := addGraph(float32Type)
	before := 0
	for i := range 1000 {
		if i == 50 {
			before = resident(t)
		}
		churn(t, env, graph)
	}
	grown := resident(t) - before
	t.Logf("resident memory grew by %d KiB in 950 rounds", grown>>10)
	if grown > 5<<20 && !ortest.Raced {
		t.Errorf("resident memory grew by %d bytes in 950 rounds, want less than 5 MiB", grown)
	}
	if n := ort.Live(); n != (ort.Counts{Envs: 1}) {
		t.Errorf("still open: %s", n)
	}
}

func churn(t *testing.T, env *ort.Env, graph []byte) {
	s, err := env.OpenSessionBytes(graph, ort.SessionOptions{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.NewCall([]string{"x", "y"}, []string{"sum"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, err := env.NewTensor(ort.Float32, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	c.SetInput(0, x)
	c.SetInput(1, x)
	if err := c.Run(nil); err != nil {
		t.Fatal(err)
	}
	out, err := c.Output(0)
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
}

func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// Everything at once, to be run under the race detector: nothing crashes, whoever comes late is told so.
func TestConcurrentMisuse(t *testing.T) {
	env := open(t)
	for range 30 {
		s := load(t, env, oneGraph("Neg"))
		in := tensor(t, env, ort.Float32, make([]float32, 8), 8)
		c := call(t, s, []string{"in"}, []string{"out"})
		c.SetInput(0, in)
		ro, err := env.NewRunOptions()
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, f := range []func(int){
			func(int) { c.Run(ro) },
			func(int) { c.Run(nil) },
			func(i int) { in.Reshape(int64(i % 8)) },
			func(int) {
				if v, err := c.Output(0); err == nil {
					v.Close()
				}
			},
			func(i int) { ro.SetConfig("memory.enable_memory_arena_shrinkage", ""); ro.Terminate(); ro.Resume() },
			func(i int) {
				if i == 15 {
					in.Close()
				}
			},
			func(i int) {
				if i == 17 {
					ro.Close()
				}
			},
			func(i int) {
				if i == 19 {
					s.Close()
				}
			},
			func(i int) {
				if i == 19 {
					c.Close()
				}
			},
		} {
			all.Go(func() {
				for i := range 20 {
					f(i)
				}
			})
		}
		all.Wait()
		ro.Close()
	}
}
