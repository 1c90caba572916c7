package ort_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shammah/shammah-engine/ort"
)

func TestSessionDescribesItself(t *testing.T) {
	env := open(t)
	s := load(t, env, addGraph(float16Type))
	want := ort.TensorInfo{Name: "x", Type: ort.Float16, Shape: []int64{-1, 2}, Symbols: []string{"n", ""}}
	if got := s.Inputs(); len(got) != 2 || fmt.Sprintf("%#v", got[0]) != fmt.Sprintf("%#v", want) {
		t.Errorf("inputs %#v, want x as %#v", got, want)
	}
	if got := fmt.Sprint(s.Outputs()); got != "[sum float16 (n, 2)]" {
		t.Errorf("outputs %s", got)
	}
	m, err := s.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m), "{a test add test.domain a description 7 map[color:blue]}"; got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
}

func TestOverridableWeight(t *testing.T) {
	env := open(t)
	s := load(t, env, weightGraph())
	if got := s.Overridable(); len(got) != 1 || got[0].Name != "w" || got[0].Type != ort.Float32 {
		t.Fatalf("overridable %v, want w", got)
	}
	in, w := tensor(t, env, ort.Float32, []float32{10, 20}, 2), tensor(t, env, ort.Float32, []float32{5, 6}, 2)
	for _, test := range []struct {
		inputs []string
		want   []float32
	}{{[]string{"in"}, []float32{11, 22}}, {[]string{"in", "w"}, []float32{15, 26}}} {
		c := call(t, s, test.inputs, []string{"out"})
		for i, v := range []*ort.Value{in, w}[:len(test.inputs)] {
			c.SetInput(i, v)
		}
		if err := c.Run(nil); err != nil {
			t.Fatal(err)
		}
		out, err := c.Output(0)
		if err != nil {
			t.Fatal(err)
		}
		if got := ort.View[float32](out); !slices.Equal(got, test.want) {
			t.Errorf("inputs %v give %v, want %v", test.inputs, got, test.want)
		}
		out.Close()
	}
}

func TestPlacement(t *testing.T) {
	env := open(t)
	if !slices.Contains(env.Providers(), "CPUExecutionProvider") {
		t.Errorf("providers %v, want the CPU among them", env.Providers())
	}
	s, err := env.OpenSessionBytes(addGraph(float32Type), ort.SessionOptions{RecordPlacement: true, Providers: []ort.Provider{{Name: "CPU"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nodes, err := s.Placement()
	if want := []ort.Node{{Name: "Add_sum", Op: "Add", Provider: "CPUExecutionProvider"}}; err != nil || !slices.Equal(nodes, want) {
		t.Errorf("placement %+v, %v, want %+v", nodes, err, want)
	}
	if _, err := load(t, env, addGraph(float32Type)).Placement(); err == nil {
		t.Error("a placement was given that nobody recorded")
	}
}

func TestOpenSessionRefuses(t *testing.T) {
	env := open(t)
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.onnx")
	if err := os.WriteFile(garbage, []byte("<html>not a model</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := addGraph(float32Type)
	cut := filepath.Join(dir, "cut.onnx")
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct { // M-01
		path string
		o    ort.SessionOptions
		code ort.Code
		says string
	}{
		{filepath.Join(dir, "absent.onnx"), ort.SessionOptions{}, ort.NoSuchFile, "absent.onnx"},
		{garbage, ort.SessionOptions{}, ort.InvalidProtobuf, "garbage.onnx"},
		{cut, ort.SessionOptions{}, ort.InvalidProtobuf, "cut.onnx"},
		{"nul\x00byte", ort.SessionOptions{}, 0, "NUL"},
		{garbage, ort.SessionOptions{Threads: -1}, 0, "-1 threads"},
		{garbage, ort.SessionOptions{Optimization: 99}, 0, "level 99"},
		{garbage, ort.SessionOptions{Config: map[string]string{"a\x00b": "c"}}, 0, "NUL"},
		{garbage, ort.SessionOptions{Providers: []ort.Provider{{Name: "CUDA", Options: map[string]string{"device_id": "0"}}}}, ort.Fail, "CUDA"},
		{garbage, ort.SessionOptions{Providers: []ort.Provider{{Name: "Abacus"}}}, ort.InvalidArgument, "Abacus"},
		{garbage, ort.SessionOptions{Providers: []ort.Provider{{Name: "CUDA", Libraries: []ort.Library{{Paths: []string{"libabsent.so.13"}, Hint: "no abacus"}}}}}, 0, "no abacus: no libabsent.so.13"},
		{garbage, ort.SessionOptions{Providers: []ort.Provider{{Options: map[string]string{"a": "b"}}}}, 0, "no options"},
	} {
		s, err := env.OpenSession(test.path, test.o)
		if err == nil {
			s.Close()
			t.Errorf("%s %+v: it opened", test.path, test.o)
			continue
		}
		var e *ort.Error
		if code := ort.Code(0); errors.As(err, &e) != (test.code != 0) || (e != nil && e.Code != test.code) {
			if e != nil {
				code = e.Code
			}
			t.Errorf("%s %+v: code %v, want %v: %v", test.path, test.o, code, test.code, err)
		}
		if !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %+v: %q, want one line with %q", test.path, test.o, err, test.says)
		}
	}
	if _, err := env.OpenSessionBytes(nil, ort.SessionOptions{}); err == nil {
		t.Error("an empty graph opened")
	}
}

func TestOpenSessionCancelled(t *testing.T) {
	env := open(t)
	nodes, last := []message(nil), "in"
	for i := range 20000 { // long to load, since every pass over the graph sees them all
		next := fmt.Sprintf("v%d", i)
		nodes, last = append(nodes, node("Neg", []string{last}, []string{next})), next
	}
	path := filepath.Join(t.TempDir(), "long.onnx")
	g := graph("long", nodes, nil, []message{port("in", float32Type, "n")}, []message{port(last, float32Type, "n")})
	if err := os.WriteFile(path, model(g), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	s, err := env.OpenSessionContext(ctx, path, ort.SessionOptions{Threads: 1})
	if err == nil {
		s.Close()
		t.Fatalf("it opened in %s", time.Since(start))
	}
	var e *ort.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Code != ort.LoadCanceled {
		t.Errorf("%v, want the context's error with code %v", err, ort.LoadCanceled)
	}
	t.Logf("cancelled after %s", time.Since(start))
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := env.OpenSessionContext(gone, path, ort.SessionOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// lines is a log that several threads write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestLog(t *testing.T) {
	for _, level := range []zerolog.Level{zerolog.TraceLevel, zerolog.InfoLevel} {
		t.Run(level.String(), func(t *testing.T) {
			var log lines
			env := openWith(t, zerolog.New(&log).Level(level))
			load(t, env, addGraph(float32Type))
			got := log.String()
			if level == zerolog.TraceLevel && (!strings.Contains(got, `"from":"onnxruntime"`) || !strings.Contains(got, `"level":"trace"`)) {
				t.Errorf("the runtime's messages did not arrive: %q", got)
			}
			if level == zerolog.InfoLevel && got != "" {
				t.Errorf("a log at %s has messages of lower levels: %s", level, got)
			}
		})
	}
}

func TestAllocatorStats(t *testing.T) {
	env := open(t)
	if stats, err := env.AllocatorStats(); err != nil || len(stats) != 0 {
		t.Errorf("before any session: %v, %v", stats, err)
	}
	s, err := env.OpenSessionBytes(addGraph(float32Type), ort.SessionOptions{Arena: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if stats, err := s.AllocatorStats(); err != nil || stats["InUse"] == "" {
		t.Errorf("of a session with an arena: %v, %v", stats, err)
	}
}
