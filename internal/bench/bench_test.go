package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine"
)

// fake gives tokens with figures that a test can foresee, and keeps what it was asked.
type fake struct {
	asked []engine.Request
	err   error
}

func (f *fake) Generate(_ context.Context, q engine.Request) iter.Seq2[engine.Token, error] {
	f.asked = append(f.asked, q)
	return func(yield func(engine.Token, error) bool) {
		for i := range q.MaxTokens {
			if !yield(engine.Token{ID: int32(i)}, nil) {
				return
			}
		}
		yield(engine.Token{ID: -1, Stats: &engine.Stats{
			PromptTokens: len(q.Tokens), Generated: q.MaxTokens,
			Prefill: time.Duration(len(q.Tokens)) * time.Millisecond, FirstToken: 7 * time.Millisecond, Decode: time.Duration(q.MaxTokens-1) * 2 * time.Millisecond,
		}}, f.err)
	}
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		test             Test
		name             string
		prompt, generate int
		rate             float64
	}{
		{Test{Prompt: 512}, "pp512", 512, 1, 1000},
		{Test{Generate: 128}, "tg128", 1, 129, 500},
		{Test{Generate: 16, Depth: 4096}, "tg16@d4096", 4096, 17, 500},
	} {
		f := &fake{}
		r, err := Run(t.Context(), f, 1000, c.test, 3, func() int64 { return 42 })
		if err != nil || r.Test != c.name || math.Abs(r.Median-c.rate) > 1e-6 || len(r.Samples) != 3 || r.FirstMS != 7 || r.PeakMemory != 42 {
			t.Errorf("%s: got %+v, %v; want 3 samples of %v tokens a second", c.name, r, err, c.rate)
		}
		if len(f.asked) != 4 {
			t.Errorf("%s: %d generations, want a warm-up and 3", c.name, len(f.asked))
		}
		for _, q := range f.asked {
			if len(q.Tokens) != c.prompt || q.MaxTokens != c.generate || !q.IgnoreEnd || !q.TokensOnly || !q.Cold {
				t.Errorf("%s: asked for %d tokens after %d, want %d after %d, to the end and without text", c.name, q.MaxTokens, len(q.Tokens), c.generate, c.prompt)
			}
			if len(q.Tokens)+q.MaxTokens > c.test.Tokens() {
				t.Errorf("%s: uses %d tokens of context, promised %d", c.name, len(q.Tokens)+q.MaxTokens, c.test.Tokens())
			}
		}
	}
	broken := errors.New("broken on purpose")
	if _, err := Run(t.Context(), &fake{err: broken}, 1000, Test{Prompt: 1}, 1, func() int64 { return 0 }); !errors.Is(err, broken) {
		t.Errorf("a failing model gave %v, want its error", err)
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

func TestReport(t *testing.T) {
	r := Report{Model: "m", Bytes: 3 << 20, Parameters: 4_800_000, Layout: "B", Variant: "int4", Provider: "CPU", Threads: 2, Results: []Result{{Test: "pp512", Median: 100, Deviation: 1, FirstMS: 5}, {Test: "tg128", Median: 50, GapP50MS: 20, GapP95MS: 21}}}
	var md, js bytes.Buffer
	if err := errors.Join(r.Markdown(&md), r.JSON(&js)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(md.String(), "\n")
	for i, line := range lines[:4] {
		if n := len([]rune(line)); n != len([]rune(lines[0])) || strings.Count(line, "|") != 13 {
			t.Errorf("line %d is not aligned with the first:\n%s", i, md.String())
		}
	}
	for _, want := range []string{"pp512", "100.00 ± 1.00", "4.80 M", "3.0 MiB", "B int4"} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, md.String())
		}
	}
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || back.Results[1].Median != 50 {
		t.Errorf("JSON does not read back: %+v, %v", back, err)
	}
}
