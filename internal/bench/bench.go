// Package bench measures how fast a model reads a prompt and writes an answer, and prints it in the field's notation:
// ppN is a prompt of N tokens, tgN a generation of N tokens, @dN the depth, tokens that the cache holds before.
package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shammah/shammah-engine/engine"
)

// Generator is the part of a model that is measured.
type Generator interface {
	Generate(ctx context.Context, q engine.Request) iter.Seq2[engine.Token, error]
}

// Test is one row of the table: a prompt or a generation.
type Test struct {
	Prompt   int // tokens to read; 0 for a generation
	Generate int // tokens to write; 0 for a prompt
	Depth    int // tokens in the cache before the first one that is generated
}

// String is the test in the field's notation.
func (t Test) String() string {
	switch {
	case t.Generate == 0:
		return fmt.Sprintf("pp%d", t.Prompt)
	case t.Depth > 0:
		return fmt.Sprintf("tg%d@d%d", t.Generate, t.Depth)
	}
	return fmt.Sprintf("tg%d", t.Generate)
}

// Tokens is the context that the test needs.
func (t Test) Tokens() int {
	if t.Generate == 0 {
		return t.Prompt + 1
	}
	return max(t.Depth, 1) + t.Generate + 1
}

// Result is what one test gave: a sample for each repetition.
type Result struct {
	Test       string    `json:"test"`
	Samples    []float64 `json:"samples"`     // tokens per second
	Median     float64   `json:"median"`      // tokens per second
	Deviation  float64   `json:"deviation"`   // standard deviation of the samples
	FirstMS    float64   `json:"first_ms"`    // median time to the first token, milliseconds
	GapP50MS   float64   `json:"gap_p50_ms"`  // between tokens; 0 for prompts
	GapP95MS   float64   `json:"gap_p95_ms"`  //
	PeakMemory int64     `json:"peak_memory"` // bytes resident at most, of the whole process so far
}

// Run measures one test: a warm-up, then repetitions. Ids are random, from a fixed seed; ends of text are ignored.
func Run(ctx context.Context, g Generator, vocab int, t Test, repetitions int, peak func() int64) (Result, error) {
	r := Result{Test: t.String()}
	var first []float64
	var gaps []float64
	for i := range repetitions + 1 {
		m, err := measure(ctx, g, vocab, t)
		if err != nil {
			return r, fmt.Errorf("bench: %s: %w", t, err)
		}
		if i == 0 {
			continue // warm-up: memory is touched, caches are filled
		}
		r.Samples = append(r.Samples, m.rate)
		first = append(first, m.first)
		gaps = append(gaps, m.gaps...)
	}
	r.Median, r.Deviation, r.FirstMS = median(r.Samples), deviation(r.Samples), median(first)
	if t.Generate > 0 {
		r.GapP50MS, r.GapP95MS = quantile(gaps, 0.5), quantile(gaps, 0.95)
	}
	r.PeakMemory = peak()
	return r, nil
}

// measured is one repetition.
type measured struct {
	rate  float64 // tokens per second
	first float64 // milliseconds
	gaps  []float64
}

func measure(ctx context.Context, g Generator, vocab int, t Test) (measured, error) {
	prompt := t.Prompt
	if t.Generate > 0 {
		prompt = max(t.Depth, 1)
	}
	q := engine.Request{Tokens: ids(prompt, vocab), MaxTokens: t.Generate + 1, IgnoreEnd: true, TokensOnly: true, Cold: true}
	var m measured
	var stats *engine.Stats
	last := time.Now()
	for token, err := range g.Generate(ctx, q) {
		if err != nil {
			return m, err
		}
		now := time.Now()
		if token.Stats != nil {
			stats = token.Stats
		} else if t.Generate > 0 {
			m.gaps = append(m.gaps, now.Sub(last).Seconds()*1e3)
		}
		last = now
	}
	if stats == nil {
		return m, errors.New("the model gave no figures")
	}
	m.first = stats.FirstToken.Seconds() * 1e3
	m.rate = stats.PrefillRate()
	if t.Generate > 0 {
		m.rate = stats.DecodeRate()
		m.gaps = m.gaps[1:] // the first one is the prompt
	}
	return m, nil
}

// ids is a prompt of n random tokens, the same each time.
func ids(n, vocab int) []int32 {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]int32, n)
	for i := range list {
		list[i] = r.Int32N(int32(vocab))
	}
	return list
}

func median(x []float64) float64 { return quantile(x, 0.5) }

// quantile is the value below which the share q of x lies, interpolated.
func quantile(x []float64, q float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(x))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// deviation is the sample standard deviation.
func deviation(x []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	mean, sum := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}
