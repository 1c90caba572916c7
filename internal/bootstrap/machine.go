package bootstrap

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
)

// ErrClosed says that the machine was closed before its model was ready.
var ErrClosed = errors.New("bootstrap: the model was given up")

// ErrNotAvailable is what errors of Unavailable are.
var ErrNotAvailable = errors.New("bootstrap: not available")

// Unavailable marks the reason why no attempt is made, so that the machine ends in NotAvailable and not in Failed.
func Unavailable(reason error) error { return &unavailable{reason} }

type unavailable struct{ error }

func (u *unavailable) Unwrap() []error { return []error{ErrNotAvailable, u.error} }

// Source is what a machine works with. Both methods are called once, by the machine's own goroutine, and must end soon after ctx does.
type Source[M any] interface {
	// Fetch brings what is missing to this machine, and returns at once when nothing is. It reports, from any goroutine, how far it is.
	Fetch(ctx context.Context, progress func(Progress)) error
	// Load makes the model and says which provider truly runs it.
	Load(ctx context.Context) (m M, provider string, err error)
}

// Progress is how far a download is.
type Progress struct {
	File, Files  int   // which of how many, from 1
	Bytes, Total int64 // of all files; a Total of 0 is unknown
}

// Machine brings one model to life, once. It is safe for concurrent use.
//
// One goroutine makes every change of state. Each change is a link of a chain, and a watcher walks the chain at its own pace: none
// misses a change, none holds the machine up, and what all have seen is garbage.
type Machine[M io.Closer] struct {
	source Source[M]
	cancel context.CancelFunc
	done   chan struct{} // closed when the owner goroutine has ended

	mu     sync.Mutex
	last   *link
	model  M
	loaded bool
}

// link is one state. After next is closed, following is the one after it, or nil at the end of the chain.
type link struct {
	state     State
	next      chan struct{}
	following *link
}

// New makes a machine that does nothing yet. First says which model it is.
func New[M io.Closer](first State, source Source[M]) *Machine[M] {
	first.Phase = Initializing
	return &Machine[M]{source: source, done: make(chan struct{}), last: &link{state: first, next: make(chan struct{})}}
}

// Start begins, once. Ctx ends the work as Close does. Who watches before sees everything.
func (m *Machine[M]) Start(ctx context.Context) {
	ctx, m.cancel = context.WithCancel(ctx)
	go m.own(ctx)
}

// own is the life of the owner goroutine.
func (m *Machine[M]) own(ctx context.Context) {
	defer close(m.done)
	defer m.end()
	if err := m.fetch(ctx); err != nil {
		m.fail(ctx, err)
		return
	}
	m.change(State{Phase: Loading})
	model, provider, err := m.source.Load(ctx)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	m.mu.Lock()
	m.model, m.loaded = model, true
	m.mu.Unlock()
	if ctx.Err() == nil {
		m.change(State{Phase: Ready, Provider: provider})
	}
}

func (m *Machine[M]) fetch(ctx context.Context) error {
	reports, err := make(chan Progress), make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		err <- m.source.Fetch(ctx, func(p Progress) {
			select {
			case reports <- p:
			case <-finished: // a report that comes late says nothing new
			}
		})
	}()
	for {
		select {
		case p := <-reports:
			m.change(State{Phase: Downloading, File: p.File, Files: p.Files, Bytes: p.Bytes, Total: p.Total})
		case err := <-err:
			return errors.Join(err, ctx.Err())
		}
	}
}

// fail ends in the state that err means; what was given up ends without a word.
func (m *Machine[M]) fail(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, ErrNotAvailable):
		m.change(State{Phase: NotAvailable, Err: err})
	default:
		m.change(State{Phase: Failed, Err: err})
	}
}

func (m *Machine[M]) change(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Model, s.Family = m.last.state.Model, m.last.state.Family
	l := &link{state: s, next: make(chan struct{})}
	m.last.following = l
	close(m.last.next)
	m.last = l
}

func (m *Machine[M]) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.last.next)
}

func (m *Machine[M]) current() *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// State is the state now.
func (m *Machine[M]) State() State { return m.current().state }

// Watch gives the state now and every change after it. It ends after Ready, Failed or NotAvailable, when the machine is closed, and with ctx.
// The chain is taken up when Watch is called, not when the loop begins.
func (m *Machine[M]) Watch(ctx context.Context) iter.Seq[State] {
	first := m.current()
	return func(yield func(State) bool) {
		for l := first; l != nil; l = l.following {
			if ctx.Err() != nil || !yield(l.state) {
				return
			}
			select {
			case <-l.next:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Wait waits until the model is ready. The error is the reason why it will not be: the one of Failed or NotAvailable, ErrClosed, or ctx's.
func (m *Machine[M]) Wait(ctx context.Context) (M, error) {
	var none M
	select {
	case <-m.done:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if model, ok := m.Model(); ok {
		return model, nil
	}
	if err := m.State().Err; err != nil {
		return none, err
	}
	return none, ErrClosed
}

// Model is the model, if it is ready.
func (m *Machine[M]) Model() (M, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.model, m.loaded && m.last.state.Phase == Ready
}

// Close gives the work up, waits for its end and closes the model. It may be called twice, and before Start.
func (m *Machine[M]) Close() error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	<-m.done
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.loaded {
		return nil
	}
	m.loaded = false
	return m.model.Close()
}
