package ort

// #include "table.h"
import "C"

import "runtime"

// thread is one of the system's threads, which a session owns and runs on: some providers keep what they need for each thread that ever ran
// them, and a goroutine comes from any.
type thread struct {
	work  chan func()
	ended chan struct{}
}

func newThread() *thread {
	t := &thread{work: make(chan func()), ended: make(chan struct{})}
	go t.loop()
	return t
}

// loop never gives the thread back, so that it ends with the goroutine, and what was kept for it goes too.
func (t *thread) loop() {
	defer close(t.ended)
	runtime.LockOSThread()
	for f := range t.work {
		f()
	}
}

// do calls f on the thread and waits for it.
func (t *thread) do(f func()) {
	done := make(chan struct{})
	t.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// close ends the thread. It may be nil.
func (t *thread) close() {
	if t != nil {
		close(t.work)
		<-t.ended
	}
}

// runOn is the C call of a run on a session's own thread. While one is recorded, CUDA lets no other take memory.
func (c *Call) runOn(t *thread, ro *RunOptions) (status *C.OrtStatus) {
	turn := c.session.env.captures.RLocker()
	if ro.unrecorded.Swap(false) {
		turn = &c.session.env.captures
	}
	turn.Lock()
	defer turn.Unlock()
	t.do(func() { status = C.ort_call_run(c.session.env.c, c.session.ptr, ro.ptr, c.c) })
	return status
}
