package ort

import (
	"sync"
	"sync/atomic"
)

// kind is a kind of handle, for counting.
type kind int

const (
	kindEnv kind = iota
	kindSession
	kindBuffer
	kindValue
	kindCall
	kindRunOptions
	kindAdapter
	kinds
)

var kindNames = [kinds]string{"environment", "session", "buffer", "value", "call", "run options", "adapter"}

func (k kind) String() string { return kindNames[k] }

// process is the one state of this package: the runtime allows one environment per process.
var process struct {
	sync.Mutex
	env  *Env // nil while none is open
	live [kinds]atomic.Int64
}

// Counts is the number of C objects that exist, by kind.
type Counts struct {
	Envs, Sessions, Buffers, Values, Calls, RunOptions, Adapters int64
}

// Live counts the C objects of all handles that are not closed, or closed but still needed by one that is not.
func Live() Counts {
	n := func(k kind) int64 { return process.live[k].Load() }
	return Counts{n(kindEnv), n(kindSession), n(kindBuffer), n(kindValue), n(kindCall), n(kindRunOptions), n(kindAdapter)}
}

// life is the lifetime of one C object: the owner has one reference until Close, every child and every C call under way has one.
type life struct {
	kind   kind
	mu     sync.Mutex
	refs   int
	closed bool
	free   func() // releases the C object, once, when the last reference goes
	leak   leak
}

// begin starts the life of a C object that has just been made. The object is released by free.
func (l *life) begin(k kind, free func()) {
	l.kind, l.refs, l.free = k, 1, free
	process.live[k].Add(1)
}

// hold takes a reference, or answers ErrClosed.
func (l *life) hold() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.refs++
	return nil
}

// drop gives a reference back.
func (l *life) drop() {
	l.mu.Lock()
	l.refs--
	last := l.refs == 0
	l.mu.Unlock()
	if last {
		l.free()
		process.live[l.kind].Add(-1)
	}
}

// end closes: it marks the handle closed and gives the owner's reference back. False says that it was closed before.
func (l *life) end() bool {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		l.leak.forget()
		l.drop()
	}
	return first
}

// ended says whether Close was called.
func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
