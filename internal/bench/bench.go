// Package bench measures how fast a model reads a prompt and writes an answer, and prints it in the field's notation:
// ppN is a prompt of N tokens, tgN a generation of N tokens, pgN,M one after the other, bN so many rows at once, @ dN the depth,
// tokens that the cache holds before.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/decode"
)

// Generator is the part of a model that is measured.
type Generator interface {
	Generate(ctx context.Context, q engine.Request) iter.Seq2[engine.Token, error]
	GenerateBatch(ctx context.Context, requests []engine.Request) iter.Seq2[decode.RowToken, error]
	Save(ctx context.Context, w io.Writer, prompt []int32) (tokens int, err error)
	Restore(ctx context.Context, r io.Reader, adapters ...engine.AdapterUse) (tokens int, err error)
}

// Bench is what all tests of a run have in common.
type Bench struct {
	Model       Generator
	Vocab       int
	Repetitions int
	Adapters    []engine.AdapterUse         // of every request
	Peak        func() int64                // bytes resident at most so far
	Estimate    func(t Test) (int64, error) // bytes foreseen for a process that has run this test after those before
	Passage     []int32                     // Passage in the model's tokens, for Copy alone
	Speculate   engine.Speculate            // for Copy alone: the other tests measure runs of one token
}

// What samples are in. More tokens per second are better, fewer milliseconds are.
const (
	UnitRate = "t/s"
	UnitMS   = "ms"
)

// Result is what one test gave: a sample for each repetition.
type Result struct {
	Test       string    `json:"test"`
	Unit       string    `json:"unit"`                 // of samples, median and deviation: t/s, all rows together, or ms
	Samples    []float64 `json:"samples"`              //
	Median     float64   `json:"median"`               //
	Deviation  float64   `json:"deviation"`            // standard deviation of the samples
	FirstMS    float64   `json:"first_ms"`             // median time to the first token, milliseconds
	GapP50MS   float64   `json:"gap_p50_ms"`           // between tokens of a row; 0 for prompts
	GapP95MS   float64   `json:"gap_p95_ms"`           //
	PeakMemory int64     `json:"peak_memory"`          // bytes resident at most, of the whole process so far
	Estimate   int64     `json:"estimate_memory"`      // bytes that were foreseen for that
	Roofline   float64   `json:"roofline,omitempty"`   // share of the rate at which the machine can read the weights
	Reused     int       `json:"reused,omitempty"`     // tokens of the prompt that the cache still held
	Copied     float64   `json:"copied,omitempty"`     // share of the tokens that could be looked up in what stands before
	CopiedIDs  []int32   `json:"copied_ids,omitempty"` // the prompt of Copy, so that another program can read the same
	Proposed   int       `json:"proposed,omitempty"`   // tokens that were guessed
	Accepted   int       `json:"accepted,omitempty"`   // guesses that were right
	GapsMS     []float64 `json:"gaps_ms,omitempty"`
}

// Run measures one test: a warm-up in brief, then repetitions. Ids are random, from a fixed seed; ends of text are ignored.
func (b Bench) Run(ctx context.Context, t Test) (Result, error) {
	r := Result{Test: t.String(), Unit: t.unit()}
	var first []float64
	if _, err := b.measure(ctx, t.warmup()); err != nil {
		return r, fmt.Errorf("bench: %s: warm up: %w", t, err)
	}
	for range b.Repetitions {
		m, err := b.measure(ctx, t)
		if err != nil {
			return r, fmt.Errorf("bench: %s: %w", t, err)
		}
		r.Samples = append(r.Samples, m.value)
		first = append(first, m.first)
		r.GapsMS = append(r.GapsMS, m.gaps...)
		r.Reused, r.Copied, r.Proposed, r.Accepted = m.reused, m.copied, m.proposed, m.accepted
	}
	r.FirstMS = median(first)
	if t.Kind == Copy {
		r.CopiedIDs = b.copyPrompt()
	}
	if t.Generate > 0 {
		r.GapP50MS, r.GapP95MS = quantile(r.GapsMS, 0.5), quantile(r.GapsMS, 0.95)
	}
	return r, b.finish(&r, t)
}

// Load measures how long open takes. There is no warm-up: who calls it has opened the model before, and closed it.
func (b Bench) Load(ctx context.Context, open func() (close func() error, err error)) (Result, error) {
	r := Result{Test: string(Load), Unit: UnitMS}
	for range b.Repetitions {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		start := time.Now()
		closeModel, err := open()
		took := time.Since(start)
		if err == nil {
			err = closeModel()
		}
		if err != nil {
			return r, fmt.Errorf("bench: load: %w", err)
		}
		r.Samples = append(r.Samples, milliseconds(took))
	}
	return r, b.finish(&r, Test{Kind: Load})
}

func (b Bench) finish(r *Result, t Test) (err error) {
	r.Median, r.Deviation, r.PeakMemory = median(r.Samples), deviation(r.Samples), b.Peak()
	if b.Estimate != nil {
		r.Estimate, err = b.Estimate(t)
	}
	return err
}

// measured is one repetition.
type measured struct {
	value  float64 // in the test's unit
	first  float64 // milliseconds
	gaps   []float64
	reused int
	copied float64

	proposed, accepted int
}

func (b Bench) measure(ctx context.Context, t Test) (measured, error) {
	switch {
	case t.again():
		return b.turn2(ctx, t)
	case t.Kind == Copy:
		return b.copyPassage(ctx, t)
	case t.Rows > 1:
		return b.batch(ctx, t)
	case t.Generate == 0 && t.Depth > 0:
		return b.readDeep(ctx, t)
	case t.Generate == 0:
		s, err := b.one(ctx, cold(b.ids(t.Prompt), 1))
		return measured{value: s.stats.PrefillRate(), first: milliseconds(s.stats.FirstToken)}, err
	}
	s, err := b.one(ctx, cold(b.ids(max(t.Depth+t.Prompt, 1)), t.Generate+1))
	m := measured{value: s.stats.DecodeRate(), first: milliseconds(s.stats.FirstToken), gaps: s.gaps}
	if t.Prompt > 0 { // both, as one rate
		m.value = float64(t.Prompt+t.Generate) / (s.stats.Prefill + s.stats.Decode).Seconds()
	}
	return m, err
}

// readDeep reads a prompt with Depth tokens in the cache.
func (b Bench) readDeep(ctx context.Context, t Test) (measured, error) {
	all := b.ids(t.Depth + t.Prompt)
	if _, err := b.one(ctx, cold(all[:t.Depth], 1)); err != nil {
		return measured{}, err
	}
	s, err := b.one(ctx, warm(all, 1))
	return measured{value: s.stats.PrefillRate(), first: milliseconds(s.stats.FirstToken), reused: s.stats.Reused}, err
}

// turn2 asks a question, and another one after the answer; Saved puts what was computed into a file between them.
func (b Bench) turn2(ctx context.Context, t Test) (measured, error) {
	all := b.ids(t.Depth + t.Prompt)
	s, err := b.one(ctx, cold(all[:t.Depth], turnAnswer))
	if err != nil {
		return measured{}, err
	}
	var taken time.Duration
	if t.Kind == Saved {
		if taken, err = b.saveAndRestore(ctx); err != nil {
			return measured{}, err
		}
	}
	s, err = b.one(ctx, warm(slices.Concat(all[:t.Depth], s.ids, all[t.Depth:]), 1))
	m := measured{value: milliseconds(s.stats.FirstToken), first: milliseconds(s.stats.FirstToken), reused: s.stats.Reused}
	if t.Kind == Saved {
		m.value = milliseconds(taken)
	}
	return m, err
}

// saveAndRestore puts what the model holds into a file, has the model hold something else, and measures how long it takes to go back.
func (b Bench) saveAndRestore(ctx context.Context) (took time.Duration, err error) {
	f, err := os.CreateTemp("", "shammah-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := b.Model.Save(ctx, f, nil); err != nil {
		return 0, err
	}
	if _, err := b.one(ctx, cold(b.ids(2)[1:], 1)); err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	start := time.Now()
	_, err = b.Model.Restore(ctx, f, b.Adapters...)
	return time.Since(start), err
}

// copyPassage has the model go on with a prompt that repeats one passage, which a trained model continues by repeating it.
func (b Bench) copyPassage(ctx context.Context, t Test) (measured, error) {
	if len(b.Passage) == 0 {
		return measured{}, errors.New("there is no passage to copy: the model was opened without its tokenizer")
	}
	prompt := b.copyPrompt()
	q := cold(prompt, t.Generate+1)
	q.Speculate = b.Speculate
	s, err := b.one(ctx, q)
	return measured{
		value: s.stats.DecodeRate(), first: milliseconds(s.stats.FirstToken), gaps: s.gaps, copied: copied(prompt, s.ids),
		proposed: s.stats.Proposed, accepted: s.stats.Accepted,
	}, err
}

func (b Bench) copyPrompt() []int32 {
	return slices.Repeat(b.Passage[:min(len(b.Passage), copyTokens)], copyTimes)
}

// copied is the share of the answer's tokens that followed the two tokens before them when these were last seen.
func copied(prompt, answer []int32) float64 {
	all := slices.Concat(prompt, answer)
	same := 0
	for i := len(prompt); i < len(all); i++ {
		for j := i - 1; j >= 2; j-- {
			if all[j-1] == all[i-1] && all[j-2] == all[i-2] {
				if all[j] == all[i] {
					same++
				}
				break
			}
		}
	}
	return float64(same) / float64(max(len(answer), 1))
}

// batch writes several rows in the same steps. Each has a prompt of its own.
func (b Bench) batch(ctx context.Context, t Test) (measured, error) {
	depth := max(t.Depth, 1)
	all := b.ids(depth * t.Rows)
	requests := make([]engine.Request, t.Rows)
	for i := range requests {
		requests[i] = cold(all[i*depth:(i+1)*depth], t.Generate+1)
		requests[i].Adapters = b.Adapters
	}
	var m measured
	var took time.Duration
	tokens, closed := 0, 0
	var last time.Time
	for token, err := range b.Model.GenerateBatch(ctx, requests) {
		switch {
		case err != nil:
			return m, err
		case token.Stats != nil:
			closed++
			tokens += token.Stats.Generated - 1
			took = max(took, token.Stats.Decode)
			m.first = max(m.first, milliseconds(token.Stats.FirstToken))
		case token.Row == 0:
			now := time.Now()
			if !last.IsZero() {
				m.gaps = append(m.gaps, rounded(now.Sub(last)))
			}
			last = now
		}
	}
	if closed != t.Rows {
		return m, fmt.Errorf("the model gave figures for %d rows of %d", closed, t.Rows)
	}
	if took > 0 {
		m.value = float64(tokens) / took.Seconds()
	}
	return m, nil
}

// sequence is what one request gave.
type sequence struct {
	ids   []int32
	gaps  []float64 // milliseconds between tokens
	stats engine.Stats
}

func (b Bench) one(ctx context.Context, q engine.Request) (s sequence, err error) {
	var stats *engine.Stats
	var last time.Time
	q.Adapters = b.Adapters
	for token, err := range b.Model.Generate(ctx, q) {
		if err != nil {
			return s, err
		}
		if token.Stats != nil {
			stats = token.Stats
			continue
		}
		now := time.Now()
		if len(s.ids) > 0 {
			s.gaps = append(s.gaps, rounded(now.Sub(last)))
		}
		s.ids, last = append(s.ids, token.ID), now
	}
	if stats == nil {
		return s, errors.New("the model gave no figures")
	}
	s.stats = *stats
	return s, nil
}

// cold is a request that computes its whole prompt.
func cold(ids []int32, tokens int) engine.Request {
	q := warm(ids, tokens)
	q.Cold = true
	return q
}

func warm(ids []int32, tokens int) engine.Request {
	return engine.Request{Tokens: ids, MaxTokens: tokens, IgnoreEnd: true, TokensOnly: true, Speculate: engine.SpeculateOff}
}

// ids is n random tokens, the same each time.
func (b Bench) ids(n int) []int32 {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]int32, n)
	for i := range list {
		list[i] = r.Int32N(int32(b.Vocab))
	}
	return list
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// rounded is milliseconds to the microsecond: more digits would only fill the file.
func rounded(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)/time.Microsecond) / 1e3
}
