package ort_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

func loadOneThread(t *testing.T, env *ort.Env, graph []byte) *ort.Session {
	t.Helper()
	s, err := env.OpenSessionBytes(graph, ort.SessionOptions{Threads: 1, OneThread: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func runOptions(t *testing.T, env *ort.Env) *ort.RunOptions {
	t.Helper()
	ro, err := env.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ro.Close() })
	return ro
}

// negate prepares a run that makes -1 of 1.
func negate(t *testing.T, env *ort.Env, s *ort.Session) (*ort.Call, *ort.Value) {
	t.Helper()
	c, out := call(t, s, []string{"in"}, []string{"out"}), tensor(t, env, ort.Float32, []float32{0}, 1)
	c.SetInput(0, tensor(t, env, ort.Float32, []float32{1}, 1))
	c.SetOutput(0, out)
	return c, out
}

// Runs from many goroutines at once take turns on the thread, and give what they should.
func TestOneThread(t *testing.T) {
	env := open(t)
	s := loadOneThread(t, env, oneGraph("Neg"))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			c, out := negate(t, env, s)
			for range 20 {
				if err := c.Run(nil); err != nil || ort.View[float32](out)[0] != -1 {
					t.Errorf("%v, %v; want -1", ort.View[float32](out), err)
				}
			}
		})
	}
	wait.Wait()
}

// A run waits while the session's thread is busy with something else: it happens there and nowhere else.
func TestRunHappensOnTheThread(t *testing.T) {
	env := open(t)
	s := loadOneThread(t, env, oneGraph("Neg"))
	c, _ := negate(t, env, s)
	var free, early atomic.Bool
	busy, release, ran := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go s.OnThread(func() {
		close(busy)
		<-release
	})
	<-busy
	go func() {
		err := c.Run(nil)
		early.Store(!free.Load())
		ran <- err
	}()
	for s.Running() == 0 && len(ran) == 0 {
		runtime.Gosched()
	}
	for range 10000 { // what ran elsewhere would have ended
		runtime.Gosched()
	}
	free.Store(true)
	close(release)
	if err := <-ran; err != nil || early.Load() {
		t.Errorf("the run ended while the thread was busy: %v, %v", early.Load(), err)
	}
}

// A run on the session's thread can be stopped by whoever stops others, and a session closed over it.
func TestOneThreadIsStopped(t *testing.T) {
	env := open(t)
	for _, stop := range []func(s *ort.Session, ro *ort.RunOptions){
		func(_ *ort.Session, ro *ort.RunOptions) { ro.Terminate() },
		func(s *ort.Session, _ *ort.RunOptions) { s.Close() },
	} {
		s, ro := loadOneThread(t, env, loopGraph()), runOptions(t, env)
		result := endless(t, s, loopOn(t, env, s), ro)
		stop(s, ro)
		if err := <-result; !errors.Is(err, ort.ErrTerminated) {
			t.Errorf("%v, want ErrTerminated", err)
		}
	}
}

// A number for what is to be recorded is taken, and does nothing where nothing records.
func TestRecord(t *testing.T) {
	env := open(t)
	s := loadOneThread(t, env, oneGraph("Neg"))
	c, out := negate(t, env, s)
	ro := runOptions(t, env)
	if n, err := ro.Config(ort.RunGraph); err != nil || n != "-1" {
		t.Errorf("nothing was to be recorded: %q, %v; want -1", n, err)
	}
	if err := ro.Record(-1); err == nil {
		t.Error("the number -1 was taken")
	}
	if err := ro.Record(3); err != nil {
		t.Fatal(err)
	}
	if n, err := ro.Config(ort.RunGraph); err != nil || n != "3" {
		t.Errorf("recorded as %q, %v; want 3", n, err)
	}
	if n, err := ro.Config("no such key"); err != nil || n != "" {
		t.Errorf("a key that was not set is %q, %v", n, err)
	}
	if err := c.Run(ro); err != nil || ort.View[float32](out)[0] != -1 {
		t.Errorf("%v, %v; want -1", ort.View[float32](out), err)
	}
}

// While a run is recorded, no other session of that kind computes; those that are replayed do so side by side.
func TestRecordingIsAlone(t *testing.T) {
	env := open(t)
	busy := loadOneThread(t, env, loopGraph())
	c, stop, recorded := loopOn(t, env, busy), runOptions(t, env), runOptions(t, env)
	if err := recorded.Record(1); err != nil {
		t.Fatal(err)
	}
	s := loadOneThread(t, env, oneGraph("Neg"))
	other, _ := negate(t, env, s)
	var stopped, early atomic.Bool
	result, ran := endless(t, busy, c, stop), make(chan error, 1)
	go func() {
		err := other.Run(recorded)
		early.Store(!stopped.Load())
		ran <- err
	}()
	for range 10000 { // what did not wait would have ended
		runtime.Gosched()
	}
	stopped.Store(true)
	stop.Terminate()
	if err := <-ran; err != nil || early.Load() {
		t.Errorf("recorded beside another run: %v, %v", early.Load(), err)
	}
	<-result
	if err := stop.Resume(); err != nil {
		t.Fatal(err)
	}
	result = endless(t, busy, c, stop)
	if err := other.Run(recorded); err != nil { // would never end if it waited
		t.Error(err)
	}
	stop.Terminate()
	<-result
}
