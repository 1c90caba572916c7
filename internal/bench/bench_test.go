package bench

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/decode"
)

// fake gives tokens with figures that a test can foresee, and keeps what it was asked: a token of a prompt takes a millisecond, one of an
// answer two. It goes on with what its prompt repeats.
type fake struct {
	asked []engine.Request
	held  []int32
	saved []int32
	err   error

	saveErr, restoreErr error
}

const period = 64 // of what a prompt repeats

func (f *fake) answer(q engine.Request) (ids []int32) {
	for range q.MaxTokens {
		all := slices.Concat(q.Tokens, ids)
		ids = append(ids, all[max(len(all)-period, 0)])
	}
	return ids
}

func (f *fake) stats(q engine.Request) *engine.Stats {
	s := &engine.Stats{PromptTokens: len(q.Tokens), Generated: q.MaxTokens, FirstToken: 7 * time.Millisecond, Decode: time.Duration(q.MaxTokens-1) * 2 * time.Millisecond}
	for !q.Cold && s.Reused < min(len(f.held), len(q.Tokens)-1) && f.held[s.Reused] == q.Tokens[s.Reused] {
		s.Reused++
	}
	s.Prefill = time.Duration(len(q.Tokens)-s.Reused) * time.Millisecond
	return s
}

func (f *fake) Generate(_ context.Context, q engine.Request) iter.Seq2[engine.Token, error] {
	f.asked = append(f.asked, q)
	return func(yield func(engine.Token, error) bool) {
		ids := f.answer(q)
		for _, id := range ids {
			if !yield(engine.Token{ID: id}, nil) {
				return
			}
		}
		stats := f.stats(q)
		f.held = slices.Concat(q.Tokens, ids[:len(ids)-1])
		yield(engine.Token{ID: -1, Stats: stats}, f.err)
	}
}

func (f *fake) GenerateBatch(_ context.Context, requests []engine.Request) iter.Seq2[decode.RowToken, error] {
	f.asked = append(f.asked, requests...)
	return func(yield func(decode.RowToken, error) bool) {
		for range requests[0].MaxTokens {
			for row := range requests {
				if !yield(decode.RowToken{Row: row}, nil) {
					return
				}
			}
		}
		for row, q := range requests {
			if !yield(decode.RowToken{Row: row, Token: engine.Token{ID: -1, Stats: f.stats(q)}}, f.err) {
				return
			}
		}
	}
}

func (f *fake) Save(_ context.Context, w io.Writer, _ []int32) (int, error) {
	f.saved = f.held
	_, err := w.Write([]byte("saved"))
	return len(f.held), errors.Join(err, f.saveErr)
}

func (f *fake) Restore(_ context.Context, r io.Reader, _ ...engine.AdapterUse) (int, error) {
	data, err := io.ReadAll(r)
	if string(data) != "saved" {
		err = errors.Join(err, errors.New("another file"))
	}
	f.held = f.saved
	return len(f.held), errors.Join(err, f.restoreErr)
}

// passage is a period of tokens that differ.
func passage() (ids []int32) {
	for i := range period {
		ids = append(ids, int32(i))
	}
	return ids
}

func peak42() int64 { return 42 }

func TestRun(t *testing.T) {
	for _, c := range []struct {
		test             Test
		name             string
		requests         int // of one repetition
		prompt, generate int // of the last one
		value            float64
		cold             bool
	}{
		{Test{Prompt: 512}, "pp512", 1, 512, 1, 1000, true},
		{Test{Generate: 128}, "tg128", 1, 1, 129, 500, true},
		{Test{Generate: 16, Depth: 4096}, "tg16 @ d4096", 1, 4096, 17, 500, true},
		{Test{Generate: 16, Depth: 32, Rows: 4}, "tg16 b4 @ d32", 4, 32, 17, 2000, true},
		{Test{Prompt: 100, Generate: 50}, "pg100,50", 1, 100, 51, 750, true},
		{Test{Prompt: 20, Depth: 100}, "pp20 @ d100", 2, 120, 1, 1000, false},
		{Test{Kind: Turn2, Prompt: 32, Depth: 1000}, "turn2", 2, 1048, 1, 7, false},
		{Test{Kind: Copy, Prompt: 336, Generate: 128}, "copy", 1, 3 * period, 129, 500, true},
	} {
		f := &fake{}
		r, err := Bench{Model: f, Vocab: 1000, Repetitions: 3, Peak: peak42, Passage: passage()}.Run(t.Context(), c.test)
		if err != nil || r.Test != c.name || math.Abs(r.Median-c.value) > 1e-6 || len(r.Samples) != 3 || r.FirstMS != 7 || r.PeakMemory != 42 {
			t.Errorf("%s: got %+v, %v; want 3 samples of %v", c.name, r, err, c.value)
		}
		if len(f.asked) != 4*c.requests {
			t.Errorf("%s: %d requests, want %d for a warm-up and 3", c.name, len(f.asked), 4*c.requests)
		}
		if last := f.asked[len(f.asked)-1].Tokens; c.test.Kind == Copy && !slices.Equal(r.CopiedIDs, last) || c.test.Kind != Copy && r.CopiedIDs != nil {
			t.Errorf("%s: another program is to read %v, want what was read for copy alone", c.name, r.CopiedIDs)
		}
		for i, q := range f.asked {
			if (q.Speculate == engine.SpeculateAuto) != (c.test.Kind == Copy) {
				t.Errorf("%s: speculation is %v, want it for copy alone", c.name, q.Speculate)
			}
			if !q.IgnoreEnd || !q.TokensOnly || len(q.Tokens)+q.MaxTokens > c.test.Tokens() {
				t.Errorf("%s: asked for %d tokens after %d, want no more than the %d promised, to the end and without text", c.name, q.MaxTokens, len(q.Tokens), c.test.Tokens())
			}
			if i < c.requests { // the warm-up: what counts at full length, the rest in brief
				if timed := c.test.Generate == 0 && !c.test.again(); timed && len(q.Tokens) < c.test.Depth || !timed && q.MaxTokens > max(warmAnswer+1, turnAnswer) ||
					c.test.Depth > 0 && !timed && len(q.Tokens) > warmDepth+turnAnswer+turnSecond {
					t.Errorf("%s: a warm-up asked for %d tokens after %d", c.name, q.MaxTokens, len(q.Tokens))
				}
				continue
			}
			if last := i%c.requests == c.requests-1; last && (len(q.Tokens) != c.prompt || q.MaxTokens != c.generate || q.Cold != c.cold) {
				t.Errorf("%s: asked for %d tokens after %d, cold %v; want %d after %d, %v", c.name, q.MaxTokens, len(q.Tokens), q.Cold, c.generate, c.prompt, c.cold)
			}
		}
		if want := c.test.Generate; len(r.GapsMS) != 3*want {
			t.Errorf("%s: %d gaps between tokens, want %d for each repetition", c.name, len(r.GapsMS), want)
		}
	}
}

func TestRunSaysWhatWasReusedAndCopied(t *testing.T) {
	for _, c := range []struct {
		test   Test
		reused int
		copied float64
	}{
		{Test{Prompt: 20, Depth: 100}, 100, 0},
		{Test{Kind: Turn2, Prompt: 32, Depth: 200}, 215, 0}, // the answer's last token is not in the cache yet
		{Test{Kind: Saved, Prompt: 32, Depth: 200}, 215, 0},
		{Test{Kind: Copy, Prompt: 336, Generate: 128}, 0, 1},
		{Test{Prompt: 20}, 0, 0},
	} {
		r, err := Bench{Model: &fake{}, Vocab: 1000, Repetitions: 1, Peak: peak42, Passage: passage()}.Run(t.Context(), c.test)
		if err != nil || r.Reused != c.reused || r.Copied != c.copied {
			t.Errorf("%s: got %d reused, %v copied, %v; want %d, %v", c.test, r.Reused, r.Copied, err, c.reused, c.copied)
		}
	}
}

func TestCopied(t *testing.T) {
	for _, c := range []struct {
		prompt, answer []int32
		want           float64
	}{
		{[]int32{1, 2, 3, 1, 2}, []int32{3, 1, 2, 3}, 1},
		{[]int32{1, 2, 3, 1, 2}, []int32{4, 1, 2, 4}, 0.25},
		{[]int32{1, 2}, []int32{3, 4}, 0},
		{nil, nil, 0},
	} {
		if got := copied(c.prompt, c.answer); got != c.want {
			t.Errorf("after %v, %v is a copy by %v, want %v", c.prompt, c.answer, got, c.want)
		}
	}
	if _, err := (Bench{Model: &fake{}, Vocab: 10, Repetitions: 1, Peak: peak42}).Run(t.Context(), Test{Kind: Copy, Generate: 1}); err == nil {
		t.Error("nothing to copy was measured")
	}
}

func TestFailuresOfTheModel(t *testing.T) {
	broken := errors.New("broken on purpose")
	for _, test := range []Test{{Prompt: 1}, {Generate: 1, Rows: 2}, {Kind: Turn2, Prompt: 1, Depth: 2}, {Prompt: 1, Depth: 1}, {Kind: Copy, Generate: 2}} {
		if _, err := (Bench{Model: &fake{err: broken}, Vocab: 1000, Repetitions: 1, Peak: peak42, Passage: passage()}).Run(t.Context(), test); !errors.Is(err, broken) {
			t.Errorf("%s: a failing model gave %v, want its error", test, err)
		}
	}
	for _, f := range []*fake{{saveErr: broken}, {restoreErr: broken}} {
		if _, err := (Bench{Model: f, Vocab: 10, Repetitions: 1, Peak: peak42}).Run(t.Context(), Test{Kind: Saved, Prompt: 1, Depth: 2}); !errors.Is(err, broken) {
			t.Errorf("a model that cannot be saved gave %v, want its error", err)
		}
	}
	b := Bench{Repetitions: 2, Peak: peak42}
	if _, err := b.Load(t.Context(), func() (func() error, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a model that cannot be opened gave %v, want its error", err)
	}
	if _, err := b.Load(t.Context(), func() (func() error, error) { return func() error { return broken }, nil }); !errors.Is(err, broken) {
		t.Errorf("a model that cannot be closed gave %v, want its error", err)
	}
}

func TestLoad(t *testing.T) {
	open := 0
	r, err := Bench{Repetitions: 3, Peak: peak42}.Load(t.Context(), func() (func() error, error) {
		open++
		if open > 1 {
			t.Error("the model is open twice")
		}
		return func() error { open--; return nil }, nil
	})
	if err != nil || len(r.Samples) != 3 || r.Test != "load" || r.Unit != "ms" || open != 0 {
		t.Errorf("got %+v, %v, %d left open; want 3 samples in ms and none open", r, err, open)
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]Test{
		"pp512":          {Prompt: 512},
		"tg128":          {Generate: 128},
		"tg128@d4096":    {Generate: 128, Depth: 4096},
		"tg128 @ d4096":  {Generate: 128, Depth: 4096},
		"tg16 b8 @ d32":  {Generate: 16, Depth: 32, Rows: 8},
		"pg512,128":      {Prompt: 512, Generate: 128},
		"pp512 @ d1024":  {Prompt: 512, Depth: 1024},
		"load":           {Kind: Load},
		"turn2":          {Kind: Turn2, Prompt: 32, Depth: 1000},
		"saved":          {Kind: Saved, Prompt: 32, Depth: 1000},
		"saved @ d100":   {Kind: Saved, Prompt: 32, Depth: 100},
		"turn2 @ d100":   {Kind: Turn2, Prompt: 32, Depth: 100},
		"copy":           {Kind: Copy, Prompt: 336, Generate: 128},
		"pp0":            {},
		"copy @ d5":      {},
		"load b2":        {},
		"pp512 b2":       {},
		"tg1 b1025":      {},
		"tg99999999":     {},
		"pg5":            {},
		"tg5,5":          {},
		"speed":          {},
		"":               {},
		"pg512,128 @ d1": {},
	} {
		got, err := Parse(name)
		if got != want && err == nil || (err == nil) != (want != Test{}) {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", name, got, err, want)
			continue
		}
		if back, err := Parse(got.String()); want != (Test{}) && (err != nil || back != got) {
			t.Errorf("Parse(%q) is written as %q, which reads back as %+v, %v", name, got, back, err)
		}
	}
}

func TestStatistics(t *testing.T) {
	x := []float64{4, 1, 3, 2}
	if got := median(x); got != 2.5 {
		t.Errorf("median %v = %v, want 2.5", x, got)
	}
	if got := quantile(x, 0.95); math.Abs(got-3.85) > 1e-9 {
		t.Errorf("95 %% quantile %v = %v, want 3.85", x, got)
	}
	if got := deviation(x); math.Abs(got-1.2909944) > 1e-6 {
		t.Errorf("deviation %v = %v, want 1.29099", x, got)
	}
	if median(nil) != 0 || deviation([]float64{1}) != 0 {
		t.Error("no samples gave a figure")
	}
}
