package ort_test

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

type closer struct{ closed *atomic.Int32 }

func (c closer) Close() error { c.closed.Add(1); return nil }

func TestShare(t *testing.T) {
	env := open(t)
	var opened, closed atomic.Int32
	take := func(key string) (io.Closer, func()) {
		v, release, err := env.Share(key, func() (io.Closer, error) { opened.Add(1); return closer{&closed}, nil })
		if err != nil {
			t.Error(err)
			return nil, func() {}
		}
		return v, release
	}
	var users sync.WaitGroup
	releases := make(chan func(), 16)
	for range cap(releases) {
		users.Go(func() { _, release := take("a"); releases <- release })
	}
	users.Wait()
	_, other := take("b")
	if opened.Load() != 2 || closed.Load() != 0 {
		t.Errorf("%d opened and %d closed for 16 users of one key and one of another, want 2 and 0", opened.Load(), closed.Load())
	}
	for range cap(releases) {
		release := <-releases
		release()
		release() // the second time counts for nothing
		if want := int32(0); len(releases) > 0 && closed.Load() != want {
			t.Errorf("%d closed while %d users are left", closed.Load(), len(releases))
		}
	}
	if other(); closed.Load() != 2 {
		t.Errorf("%d closed, want both", closed.Load())
	}
	broken := errors.New("broken")
	if _, _, err := env.Share("a", func() (io.Closer, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	_, release := take("a") // what failed is forgotten
	if release(); opened.Load() != 3 || closed.Load() != 3 {
		t.Errorf("%d opened, %d closed, want 3 of both", opened.Load(), closed.Load())
	}
}
