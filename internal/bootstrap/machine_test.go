package bootstrap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thing is a model that counts how often it was closed.
type thing struct{ closed atomic.Int32 }

func (t *thing) Close() error {
	t.closed.Add(1)
	return nil
}

// script is a source that does what a test says, a second for each step.
type script struct {
	reports        []Progress
	fetchErr, err  error
	fetches, loads atomic.Int32
	thing          thing
	parallel       bool
}

func (s *script) Fetch(ctx context.Context, progress func(Progress)) error {
	s.fetches.Add(1)
	var all sync.WaitGroup
	for _, p := range s.reports {
		if s.parallel {
			all.Go(func() { progress(p) })
			continue
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		progress(p)
	}
	all.Wait()
	return s.fetchErr
}

func (s *script) Load(ctx context.Context) (*thing, string, error) {
	s.loads.Add(1)
	time.Sleep(time.Second) // as the runtime, which cannot be interrupted
	if s.err != nil {
		return nil, "", s.err
	}
	return &s.thing, "CPU", nil
}

func begin(t *testing.T, s *script) *Machine[*thing] {
	m := New(named, s)
	m.Start(t.Context())
	return m
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var named = State{Model: "Qwen2.5-1.5B-Instruct", Family: "Qwen2.5"}

func TestEveryWay(t *testing.T) {
	broken, offline := errors.New("no memory"), errors.New("HF_HUB_OFFLINE is set")
	for _, c := range []struct {
		name   string
		source *script
		phases []Phase
		lines  []string
		err    error
	}{
		{"all is here", &script{}, []Phase{Initializing, Loading, Ready}, []string{
			"⏳ Initializing Qwen2.5 model (background)...",
			"⏳ Loading Qwen2.5-1.5B-Instruct...",
			"✓ ONNX session created with provider: CPU",
			"✓ Model ready for inference",
		}, nil},
		{"two files are missing", &script{reports: []Progress{{1, 2, 0, 3e9}, {1, 2, 1e9, 3e9}, {2, 2, 3e9, 3e9}}},
			[]Phase{Initializing, Downloading, Downloading, Downloading, Loading, Ready}, []string{
				"⏳ Initializing Qwen2.5 model (background)...",
				"⏳ Downloading Qwen2.5-1.5B-Instruct (2 files, 3.0 GB)...",
				"⏳ Loading Qwen2.5-1.5B-Instruct...",
				"✓ ONNX session created with provider: CPU",
				"✓ Model ready for inference",
			}, nil},
		{"the download fails", &script{reports: []Progress{{1, 1, 0, 0}}, fetchErr: broken}, []Phase{Initializing, Downloading, Failed}, []string{
			"⏳ Initializing Qwen2.5 model (background)...",
			"⏳ Downloading Qwen2.5-1.5B-Instruct...",
			"✗ Qwen2.5-1.5B-Instruct could not be loaded: no memory",
		}, broken},
		{"the load fails", &script{err: broken}, []Phase{Initializing, Loading, Failed}, []string{
			"⏳ Initializing Qwen2.5 model (background)...",
			"⏳ Loading Qwen2.5-1.5B-Instruct...",
			"✗ Qwen2.5-1.5B-Instruct could not be loaded: no memory",
		}, broken},
		{"no attempt", &script{fetchErr: Unavailable(offline)}, []Phase{Initializing, NotAvailable}, []string{
			"⏳ Initializing Qwen2.5 model (background)...",
			"✗ Qwen2.5-1.5B-Instruct is not available: HF_HUB_OFFLINE is set",
		}, offline},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { walk(t, c.source, c.phases, c.lines, c.err) })
		})
	}
}

// walk starts a machine and compares what its watchers see.
func walk(t *testing.T, source *script, wantPhases []Phase, wantLines []string, want error) {
	m := New(named, source)
	var phases []Phase
	var lines []string
	var watchers sync.WaitGroup
	states, announced := m.Watch(t.Context()), Announce(m.Watch(t.Context()))
	watchers.Go(func() {
		for s := range states {
			phases = append(phases, s.Phase)
		}
	})
	watchers.Go(func() { lines = slices.Collect(announced) })
	m.Start(t.Context())
	got, err := m.Wait(t.Context())
	watchers.Wait()
	if !slices.Equal(phases, wantPhases) {
		t.Errorf("phases: got %v, want %v", phases, wantPhases)
	}
	if !slices.Equal(lines, wantLines) {
		t.Errorf("lines:\ngot  %q\nwant %q", lines, wantLines)
	}
	if !errors.Is(err, want) || (err == nil) != (got == &source.thing) {
		t.Errorf("Wait gave %v and %v, want the error %v", got, err, want)
	}
	if _, ready := m.Model(); ready != (want == nil) {
		t.Errorf("Model is ready: %t, with the error %v", ready, want)
	}
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := source.thing.closed.Load(); (n == 1) != (want == nil) {
		t.Errorf("the model was closed %d times", n)
	}
	if source.fetches.Load() != 1 || source.loads.Load() > 1 {
		t.Errorf("fetched %d times and loaded %d times", source.fetches.Load(), source.loads.Load())
	}
	if _, err := m.Wait(t.Context()); err == nil && want != nil {
		t.Error("a machine that was closed gave a model")
	}
}

// A watcher that sleeps gets all that happened meanwhile, and holds nobody up.
func TestSlowWatcherMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &script{}
		for i := range 1000 {
			source.reports = append(source.reports, Progress{File: 1, Files: 1, Bytes: int64(i)})
		}
		m := New(named, source)
		defer m.Close()
		began, states := time.Now(), m.Watch(t.Context())
		m.Start(t.Context())
		if _, err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 1001*time.Second {
			t.Errorf("ready after %v, want one second for each of 1000 reports and one for the load", took)
		}
		next := int64(0)
		for s := range states {
			if s.Phase == Downloading {
				if s.Bytes != next {
					t.Fatalf("report %d came, want %d", s.Bytes, next)
				}
				next++
			}
		}
		if next != 1000 {
			t.Errorf("%d reports came, want 1000", next)
		}
	})
}

func TestReportsFromManyGoroutines(t *testing.T) {
	source := &script{parallel: true}
	for i := range 100 {
		source.reports = append(source.reports, Progress{Bytes: int64(i)})
	}
	synctest.Test(t, func(t *testing.T) {
		m := New(named, source)
		defer m.Close()
		seen, states := map[int64]bool{}, m.Watch(t.Context())
		m.Start(t.Context())
		for s := range states {
			if s.Phase == Downloading {
				seen[s.Bytes] = true
			}
		}
		if len(seen) != 100 {
			t.Errorf("%d reports came, want 100", len(seen))
		}
	})
}

func TestCloseGivesUpAndWaits(t *testing.T) {
	for name, c := range map[string]struct {
		source *script
		after  time.Duration
		loads  int32
	}{
		"while it downloads": {&script{reports: make([]Progress, 5)}, 2500 * time.Millisecond, 0},
		"while it loads":     {&script{}, 500 * time.Millisecond, 1},
		"when it is ready":   {&script{}, 5 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := begin(t, c.source)
				var last State
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					for s := range m.Watch(t.Context()) {
						last = s
					}
				}()
				time.Sleep(c.after)
				m.Close()
				<-watched
				if last.Phase == Failed || last.Phase == NotAvailable {
					t.Errorf("the last state is %q: giving up is no failure", last)
				}
				if got, want := c.source.thing.closed.Load(), c.source.loads.Load(); got != want || want != c.loads {
					t.Errorf("loaded %d times and closed %d times, want %d", want, got, c.loads)
				}
				if _, ready := m.Model(); ready {
					t.Error("a closed machine has a model")
				}
			})
		})
	}
}

func TestWaitAndWatchEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := begin(t, &script{reports: make([]Progress, 1000)})
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		n := 0
		for range m.Watch(ctx) {
			n++
		}
		if _, err := m.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait gave %v", err)
		}
		if n != 4 {
			t.Errorf("%d states in three seconds and a half, want the first and one for each second", n)
		}
	})
}
