package ort_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/ort"
)

// endless starts a run that ends only when somebody ends it, and waits until it is under way.
func endless(t *testing.T, s *ort.Session, c *ort.Call, ro *ort.RunOptions) (result chan error) {
	t.Helper()
	result = make(chan error, 1)
	go func() { result <- c.Run(ro) }()
	for s.Running() == 0 {
		select {
		case err := <-result:
			t.Fatalf("the run ended by itself: %v", err)
		default:
			runtime.Gosched()
		}
	}
	return result
}

func loopCall(t *testing.T, env *ort.Env) (*ort.Session, *ort.Call) {
	t.Helper()
	s := load(t, env, loopGraph())
	return s, loopOn(t, env, s)
}

// loopOn prepares a run of a session of loopGraph that does not end by itself.
func loopOn(t *testing.T, env *ort.Env, s *ort.Session) *ort.Call {
	t.Helper()
	c := call(t, s, []string{"times", "x"}, []string{"y"})
	c.SetInput(0, tensor(t, env, ort.Int64, []int64{1 << 50}))
	c.SetInput(1, tensor(t, env, ort.Float32, []float32{0}))
	return c
}

func TestTerminate(t *testing.T) {
	env := open(t)
	s, c := loopCall(t, env)
	ro, err := env.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	best := time.Hour
	for range 5 { // the best of a few, for a busy machine
		result := endless(t, s, c, ro)
		start := time.Now()
		ro.Terminate()
		err := <-result
		best = min(best, time.Since(start))
		var e *ort.Error
		if !errors.Is(err, ort.ErrTerminated) || !errors.As(err, &e) || e.Code != ort.Fail {
			t.Fatalf("a terminated run: %v, want ErrTerminated and the runtime's code", err)
		}
		if err := c.Run(ro); !errors.Is(err, ort.ErrTerminated) || !ro.Terminated() {
			t.Fatalf("the run after: %v, want ErrTerminated, for the flag stays", err)
		}
		if err := ro.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ended after %s", best)
	if best > 50*time.Millisecond {
		t.Errorf("a run ended %s after it was told to, want 50 ms", best)
	}
	c.SetInput(0, tensor(t, env, ort.Int64, []int64{3}))
	if err := c.Run(ro); err != nil {
		t.Fatal(err)
	}
	out, err := c.Output(0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if got := ort.View[float32](out); len(got) != 1 || got[0] != 3 {
		t.Errorf("after resuming, 3 rounds give %v", got)
	}
}

func TestCloseDuringRun(t *testing.T) {
	for name, end := range map[string]func(*ort.Session, *ort.Call, *ort.RunOptions){
		"session": func(s *ort.Session, _ *ort.Call, _ *ort.RunOptions) { s.Close() },
		"call":    func(_ *ort.Session, c *ort.Call, _ *ort.RunOptions) { c.Close() },
		"options, then session": func(s *ort.Session, _ *ort.Call, ro *ort.RunOptions) {
			ro.Close()
			s.Close()
		},
	} {
		for _, given := range []bool{true, false} {
			if !given && name == "options, then session" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				env := open(t)
				s, c := loopCall(t, env)
				ro, err := env.NewRunOptions()
				if err != nil {
					t.Fatal(err)
				}
				defer ro.Close()
				use := ro
				if !given {
					use = nil
				}
				result := endless(t, s, c, use)
				end(s, c, ro)
				if n := s.Running(); n != 0 {
					t.Errorf("Close came back while %d runs go on", n)
				}
				if err := <-result; !errors.Is(err, ort.ErrTerminated) {
					t.Errorf("the run: %v, want ErrTerminated", err)
				}
			})
		}
	}
}

func TestConcurrentRuns(t *testing.T) {
	env := open(t)
	s := load(t, env, addGraph(float32Type))
	shared := tensor(t, env, ort.Float32, []float32{1, 2}, 1, 2)
	var all sync.WaitGroup
	for worker := range 8 {
		c := call(t, s, []string{"x", "y"}, []string{"sum"})
		y, sum := tensor(t, env, ort.Float32, []float32{float32(worker), 0}, 1, 2), tensor(t, env, ort.Float32, []float32{}, 1, 2)
		c.SetInput(0, shared)
		c.SetInput(1, y)
		c.SetOutput(0, sum)
		all.Go(func() {
			for range 200 {
				if err := c.Run(nil); err != nil {
					t.Error(err)
				}
				if got := ort.View[float32](sum); got[0] != float32(worker)+1 || got[1] != 2 {
					t.Errorf("worker %d: %v", worker, got)
				}
			}
		})
	}
	all.Wait()
}
