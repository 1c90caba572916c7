package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
)

// Logits of several tokens in one run are those of a run each, to the last bit with our kernels: whatever kind of graph gives them.
func TestFeedRows(t *testing.T) {
	ids := readGolden(t).Prompts[3]
	for _, c := range []struct {
		folder  string
		kernels Kernels
		last    bool // the graph gives logits of the last token only
	}{
		{"b-int4", KernelsAuto, false}, // is asked for rows
		{"b-int4", KernelsOff, true},
		{"b-fp32", KernelsOff, false}, // gives all
		{"a-fp16", KernelsOff, false}, // gives all, in float16
		{"a-keep", KernelsOff, false}, // is asked for a number
		{"a-nocache", KernelsOff, false},
	} {
		t.Run(c.folder, func(t *testing.T) {
			m := openFixture(t, c.folder, Options{Threads: 2, Kernels: c.kernels, Chunk: 7})
			m.runner.cancel = nil // that of the comparison at opening
			if got := m.spec.LastRowOnly; got != c.last {
				t.Fatalf("logits of the last token only: got %v, want %v", got, c.last)
			}
			feed := func(sizes ...int) (rows [][]float32) {
				t.Helper()
				if err := m.runner.Keep(0); err != nil {
					t.Fatal(err)
				}
				for at, i := 0, 0; at < len(ids); i++ {
					n := min(sizes[i%len(sizes)], len(ids)-at)
					got, err := m.runner.FeedRows(t.Context(), ids[at:at+n])
					if err != nil || len(got) != n {
						t.Fatalf("%d tokens after %d: got %d rows, %v", n, at, len(got), err)
					}
					for _, row := range got {
						rows = append(rows, row.Floats())
					}
					at += n
				}
				return rows
			}
			want := feed(1)
			check := func(what string, got [][]float32) {
				t.Helper()
				for i := range want {
					for j := range want[i] {
						if d := math.Abs(float64(got[i][j] - want[i][j])); d != 0 && c.kernels == KernelsAuto || !(d <= 0.02) {
							t.Fatalf("%s: logit %d of token %d: got %v, token by token %v", what, j, i, got[i][j], want[i][j])
						}
					}
				}
			}
			check("32 at a time", feed(rowsMax))
			check("5, 1 and 17 in turn", feed(5, 1, 17))
			if err := m.runner.Keep(0); err != nil {
				t.Fatal(err)
			}
			logits, err := m.runner.Feed(t.Context(), ids)
			if err != nil {
				t.Fatal(err)
			}
			want = want[len(want)-1:]
			check("the last of Feed", [][]float32{logits.Floats()})
		})
	}
}

func TestFeedRowsRefuses(t *testing.T) {
	m := openFixture(t, "b-int4", Options{Context: 40, NoText: true})
	m.runner.cancel = nil
	for _, n := range []int{0, rowsMax + 1} {
		if _, err := m.runner.FeedRows(t.Context(), make([]int32, n)); err == nil || !strings.Contains(err.Error(), "expected 1 to 32") {
			t.Errorf("%d tokens: got %v, want them refused", n, err)
		}
	}
	if _, err := m.runner.FeedRows(t.Context(), make([]int32, 30)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.runner.FeedRows(t.Context(), make([]int32, 11)); err == nil || !strings.Contains(err.Error(), "30 of 40 are taken") {
		t.Errorf("beyond the capacity: got %v, want them refused", err)
	}
}

// Scores do not depend on the cut, and the likeliest tokens are those that greedy decoding takes.
func TestScore(t *testing.T) {
	g := readGolden(t)
	m := openFixture(t, "b-int4", Options{Threads: 2})
	one := openFixture(t, "b-int4", Options{Threads: 1, Chunk: 1})
	for _, prompt := range g.Prompts {
		ids := slices.Concat(prompt, tokens(t, m, Request{Tokens: prompt, MaxTokens: 64, IgnoreEnd: true}))
		got, err := m.Score(t.Context(), ids)
		if err != nil || len(got) != len(ids)-1 {
			t.Fatalf("%d tokens: got %d scores, %v", len(ids), len(got), err)
		}
		want, err := one.Score(t.Context(), ids)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("32 tokens at a time: got %v\none at a time: %v, %v", got, want, err)
		}
		for i, s := range got {
			if i+1 >= len(prompt) && s.Top != ids[i+1] {
				t.Errorf("prompt of %d tokens: the likeliest token %d is %d, greedy decoding took %d", len(prompt), i+1, s.Top, ids[i+1])
			}
			if !(s.LogProb <= 0) {
				t.Errorf("token %d: got a logarithm of %v, want at most 0", i+1, s.LogProb)
			}
		}
	}
}

// The probabilities of all tokens in one place add up to one.
func TestScoreSums(t *testing.T) {
	for _, folder := range []string{"b-int4", "a-fp16"} {
		m := openFixture(t, folder, Options{Threads: 1})
		sum := 0.0
		for id := range m.spec.Vocab {
			s, err := m.Score(t.Context(), []int32{1, int32(id)})
			if err != nil {
				t.Fatal(err)
			}
			sum += math.Exp(s[0].LogProb)
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: got a sum of %v, want 1", folder, sum)
		}
	}
}

func TestScoreRefuses(t *testing.T) {
	m := openFixture(t, "b-int4", Options{Context: 40, NoText: true})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		ids  []int32
		want string
		is   error
	}{
		{"none", t.Context(), nil, "score 0 tokens: expected two or more", nil},
		{"one", t.Context(), []int32{1}, "score 1 tokens: expected two or more", nil},
		{"too many", t.Context(), make([]int32, 41), "it holds 40", decode.ErrContext},
		{"unknown", t.Context(), []int32{1, 1 << 30}, "token 1 is 1073741824", nil},
		{"cancelled", cancelled, []int32{1, 2}, "canceled", context.Canceled},
	} {
		got, err := m.Score(c.ctx, c.ids)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) || got != nil {
			t.Errorf("%s: got %v, %v; want an error with %q", c.name, got, err, c.want)
		}
	}
	nan := float32(math.NaN())
	if _, err := score(sample.Logits{F32: []float32{1, nan, 2}}, 0); !errors.Is(err, sample.ErrNumeric) {
		t.Errorf("NaN among the logits: got %v, want %v", err, sample.ErrNumeric)
	}
}

func TestPerplexity(t *testing.T) {
	half := Score{LogProb: math.Log(0.5)}
	eighth := Score{LogProb: math.Log(0.125)}
	for _, c := range []struct {
		scores []Score
		want   float64
	}{{[]Score{half, half}, 2}, {[]Score{half, eighth}, 4}, {[]Score{eighth}, 8}, {nil, math.NaN()}} {
		if got := Perplexity(c.scores); !(math.Abs(got-c.want) < 1e-12) && !math.IsNaN(c.want) || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("%v: got %v, want %v", c.scores, got, c.want)
		}
	}
}
