package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/ortest"
)

// The clock of these tests goes as fast as a made-up machine reads.
func TestChunkTrial(t *testing.T) {
	for _, c := range []struct {
		name        string
		whole, half time.Duration // for each token
		want        int
	}{
		{"halves are slower", 10, 11, 512},
		{"halves are faster within noise", 100, 98, 512},
		{"halves are faster", 100, 90, 256},
	} {
		file := filepath.Join(t.TempDir(), "new", "chunk.json")
		now, chunk := time.Unix(0, 0), 512
		tr := &trial{file: file, chunk: 512, step: -1, now: func() time.Time { return now }, chosen: func(n int) { chunk = n }}
		feed := func(tokens int, fail error) (sizes []int) {
			for depth := 0; depth < tokens; {
				n := tr.next(tokens-depth, chunk)
				each := c.whole
				if n <= 256 {
					each = c.half
				}
				now = now.Add(time.Duration(n) * (each + time.Duration(depth)/100)) // a growing cache slows both
				sizes, depth = append(sizes, n), depth+n
				if tr = tr.ran(fail); fail != nil {
					return sizes
				}
			}
			return sizes
		}
		if got := feed(2047, nil); !slices.Equal(got, []int{512, 512, 512, 511}) || tr == nil {
			t.Errorf("%s: a prompt of 2,047 tokens was cut into %v, want no trial", c.name, got)
		}
		feed(4000, errors.New("cancelled"))
		want := []int{512, 256, 256, 256, 256, 512, 52}
		if got := feed(2100, nil); !slices.Equal(got, want) || tr != nil {
			t.Errorf("%s: a prompt of 2,100 tokens was cut into %v, want %v", c.name, got, want)
		}
		if found, ok := recallChunk(file); chunk != c.want || !ok || found != c.want {
			t.Errorf("%s: chose %d and remembered %d, %v; want %d", c.name, chunk, found, ok, c.want)
		}
	}
}

// A trial that is left between two runs begins anew with the next prompt that is long enough.
func TestChunkTrialIsLeft(t *testing.T) {
	m := openFixture(t, "b-int4", Options{Threads: 1, Chunk: 8, Context: 128})
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	tr := &trial{chunk: 8, step: -1, chosen: func(int) {}, now: func() time.Time {
		if reads++; reads == 2 { // the first run is over
			cancel()
		}
		return time.Unix(int64(reads), 0)
	}}
	m.runner.trial = tr
	if _, err := m.runner.Feed(ctx, make([]int32, 40)); !errors.Is(err, context.Canceled) || len(m.runner.Held()) != 8 {
		t.Fatalf("got %v after %d tokens, want it cancelled after 8", err, len(m.runner.Held()))
	}
	if tr.step >= 0 || tr.whole != 0 {
		t.Errorf("the trial goes on at step %d", tr.step)
	}
	tr.step = 5
	if n := tr.next(3, 8); n != 3 {
		t.Errorf("of 3 tokens %d are to be read", n)
	}
	tr.step = -1
	if _, err := m.runner.Feed(t.Context(), []int32{1, 2, 3}); err != nil || len(m.runner.Held()) != 11 {
		t.Errorf("then: %d tokens, %v; want 11", len(m.runner.Held()), err)
	}
}

func TestChunkIsRemembered(t *testing.T) {
	t.Setenv("SHAMMAH_CHECKS", t.TempDir())
	dir := copyFixture(t, "b-int4")
	open := func(o Options) *Model {
		m, err := Open(ortest.Env(t), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	m := open(Options{Threads: 1})
	if m.runner.trial == nil {
		t.Skipf("no trial with chunks of %d of a context of %d", m.chunk, m.context)
	}
	file := m.runner.trial.file
	for _, c := range []struct {
		content string
		want    int
		over    bool
	}{{`{"chunk": 256}`, 256, true}, {`{"chunk": 512}`, 512, true}, {`{"chunk": 7}`, 512, false}, {`{`, 512, false}, {``, 512, false}} {
		if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if m := open(Options{Threads: 1}); m.chunk != c.want || m.runner.chunk != c.want || (m.runner.trial == nil) != c.over {
			t.Errorf("%q: chunks of %d and %d, trial over: %v; want %d, %v", c.content, m.chunk, m.runner.chunk, m.runner.trial == nil, c.want, c.over)
		}
		if m := open(Options{Threads: 1, Chunk: 100}); m.chunk != 100 || m.runner.trial != nil {
			t.Errorf("a chunk that was asked for became %d", m.chunk)
		}
	}
}
