package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// crowd asks a model for everything at once.
type crowd struct {
	*testing.T
	model  *Model
	golden golden
	want   [][]int32 // of the first prompts
	asking sync.WaitGroup
	calls  atomic.Int32
	enough func() // after many calls
}

// work calls f again and again, and cancels every other call within 2 ms. The errors are of the kinds that the documentation names.
func (c *crowd) work(seed uint64, f func(ctx context.Context, r *rand.Rand) error) {
	c.asking.Go(func() {
		r := rand.New(rand.NewPCG(seed, 7))
		for i := range 40 {
			ctx, cancel := context.WithCancel(c.Context())
			if r.IntN(2) == 0 {
				time.AfterFunc(time.Duration(r.IntN(2000))*time.Microsecond, cancel)
			}
			err := f(ctx, r)
			cancel()
			if c.calls.Add(1) == 100 {
				c.enough()
			}
			if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrNoAdapter) {
				c.Errorf("worker %d, call %d: %v", seed, i, err)
				return
			}
		}
	})
}

func (c *crowd) ask(ctx context.Context, r *rand.Rand) error {
	row := r.IntN(len(c.want))
	ids, _, err := result(ctx, c.model, Request{Tokens: c.golden.Prompts[row], MaxTokens: 12, IgnoreEnd: true})
	if !slices.Equal(ids, c.want[row][:len(ids)]) {
		c.Errorf("got %v, want %v", ids, c.want[row])
	}
	return err
}

func (c *crowd) adapt(a *lora.Adapter) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, _ *rand.Rand) error {
		if err := c.model.LoadAdapter("a", a); err != nil {
			return err
		}
		_, _, err := result(ctx, c.model, Request{Tokens: c.golden.Prompts[0], MaxTokens: 6, IgnoreEnd: true, Adapters: []AdapterUse{{"a", 1}}})
		return errors.Join(err, c.model.RemoveAdapter("a"))
	}
}

func (c *crowd) score(ctx context.Context, _ *rand.Rand) error {
	_, err := c.model.Score(ctx, c.golden.Prompts[1])
	return err
}

// save restores what it saved, every other time cut short; what was saved with the adapter is refused.
func (c *crowd) save(ctx context.Context, r *rand.Rand) error {
	var b bytes.Buffer
	n, err := c.model.Save(ctx, &b, nil)
	if err == nil && n > 0 {
		_, _ = c.model.Restore(ctx, io.LimitReader(&b, int64(b.Len()-r.IntN(2)*40)))
	}
	return err
}

// batch leaves the loop early now and then.
func (c *crowd) batch(ctx context.Context, r *rand.Rand) error {
	q := Request{Tokens: c.golden.Prompts[0], MaxTokens: 6, IgnoreEnd: true}
	for _, err := range c.model.GenerateBatch(ctx, []Request{q, q}) {
		if err != nil {
			return err
		}
		if r.IntN(20) == 0 {
			break
		}
	}
	return nil
}

// Requests, scores, batches, adapters and saved caches at once, some of them cancelled, and a Close in the middle of it.
func TestEverythingAtOnce(t *testing.T) {
	g, env := readGolden(t), ortest.Env(t)
	for _, folder := range []string{"b-int4", "a-fp32"} {
		t.Run(folder, func(t *testing.T) {
			before := ort.Live()
			m, err := Open(env, filepath.Join("testdata", folder), Options{Threads: 1, Adapters: true})
			if err != nil {
				t.Fatal(err)
			}
			middle := make(chan struct{})
			c := &crowd{T: t, model: m, golden: g, enough: sync.OnceFunc(func() { close(middle) })}
			for _, p := range g.Prompts[:2] {
				c.want = append(c.want, tokens(t, m, Request{Tokens: p, MaxTokens: 12, IgnoreEnd: true}))
			}
			adapter := randomAdapter(t, m, 4, 0.5, 1, allModules(2)...)
			for i, f := range []func(context.Context, *rand.Rand) error{c.ask, c.ask, c.ask, c.adapt(adapter), c.score, c.save, c.batch} {
				c.work(uint64(i), f)
			}
			var closing sync.WaitGroup
			closing.Go(func() {
				<-middle
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			})
			c.asking.Wait()
			c.enough() // a worker that failed made fewer calls
			closing.Wait()
			if after := ort.Live(); after != before {
				t.Errorf("live handles before %+v, after %+v", before, after)
			}
		})
	}
}
