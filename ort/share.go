package ort

import (
	"io"
	"sync"
)

// shares is what several users of an environment have together, by key.
type shares struct {
	mu    sync.Mutex
	byKey map[string]*share
}

// share is one value; who waits for ready may read it.
type share struct {
	ready chan struct{}
	value io.Closer
	err   error
	users int // guarded by shares.mu
}

// Share gives the value that others opened under the same key in this environment, or opens it: who comes while it is being opened waits.
// It is closed when the last user has released it.
func (e *Env) Share(key string, open func() (io.Closer, error)) (value io.Closer, release func(), err error) {
	l := &e.shares
	l.mu.Lock()
	s := l.byKey[key]
	if s == nil {
		s = &share{ready: make(chan struct{}), users: 1}
		if l.byKey == nil {
			l.byKey = map[string]*share{}
		}
		l.byKey[key] = s
		l.mu.Unlock()
		s.value, s.err = open()
		close(s.ready)
	} else {
		s.users++
		l.mu.Unlock()
		<-s.ready
	}
	release = sync.OnceFunc(func() { l.drop(key, s) })
	if s.err != nil {
		release()
		return nil, nil, s.err
	}
	return s.value, release, nil
}

// drop ends one use. What failed to open is forgotten with its last waiter; until then the key has no other.
func (l *shares) drop(key string, s *share) {
	l.mu.Lock()
	s.users--
	last := s.users == 0
	if last && l.byKey[key] == s {
		delete(l.byKey, key)
	}
	l.mu.Unlock()
	if last && s.value != nil {
		s.value.Close()
	}
}
