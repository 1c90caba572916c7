package decode

import (
	"context"
	"fmt"
	"iter"

	"github.com/shammah/shammah-engine/engine/sample"
)

// BatchModel computes logits for several sequences at once. It is not safe for concurrent use.
type BatchModel interface {
	// Start computes every prompt and gives the logits of the last token of each: rows of (vocab), valid until the next Step.
	Start(ctx context.Context, prompts [][]int32) ([]sample.Logits, error)
	// Step appends one token to every row, or nothing where the id is -1, and gives the logits of each row, valid until the next Step.
	Step(ctx context.Context, ids []int32) ([]sample.Logits, error)
	// Capacity is the number of tokens that each row may hold.
	Capacity() int
}

// RowToken is one step of one row of a batch.
type RowToken struct {
	Row int
	Token
}

// GenerateBatch runs the loop for several sequences at once. Every row yields its tokens and closes with one that carries Stats.
// A row that fails by itself (numeric fault, bad text) closes with its error and the others go on; an error of the model ends the batch.
func GenerateBatch(ctx context.Context, m BatchModel, requests []Request) iter.Seq2[RowToken, error] {
	return func(yield func(RowToken, error) bool) {
		b := batch{ctx: ctx, model: m, yield: yield, ids: make([]int32, len(requests))}
		if err := b.open(requests); err != nil {
			yield(RowToken{Row: -1, Token: Token{ID: -1}}, err)
			return
		}
		b.run(requests)
	}
}

type batch struct {
	ctx   context.Context
	model BatchModel
	yield func(RowToken, error) bool
	rows  []*sequence // nil once a row has ended
	ids   []int32     // what each row is fed next; -1 for rows that have ended
}

// open checks every request before anything is computed: the longest prompt and budget decide, since rows share their positions in some layouts.
func (b *batch) open(requests []Request) error {
	capacity, longest, most := b.model.Capacity(), 0, 1
	for i := range requests {
		q := &requests[i]
		if len(q.Prompt) == 0 {
			return fmt.Errorf("decode: generate batch: prompt %d has no tokens", i)
		}
		if q.MaxTokens < 0 || q.MinTokens < 0 {
			return fmt.Errorf("decode: generate batch: prompt %d: max tokens %d and min tokens %d must not be negative", i, q.MaxTokens, q.MinTokens)
		}
		if q.Overflow != OverflowError {
			return fmt.Errorf("decode: generate batch: prompt %d: a batch refuses what does not fit; other overflow rules are for single requests", i)
		}
		longest, most = max(longest, len(q.Prompt)), max(most, q.MaxTokens)
		b.rows = append(b.rows, newSequence(q, capacity))
	}
	if most > capacity-longest {
		return fmt.Errorf("decode: generate batch: %w: the longest prompt has %d tokens and up to %d more are asked for, the context holds %d", ErrContext, longest, most, capacity)
	}
	for _, s := range b.rows {
		s.budget(capacity - longest)
	}
	return nil
}

func (b *batch) run(requests []Request) {
	if len(requests) == 0 {
		return
	}
	start := requests[0].Now()
	prompts := make([][]int32, len(requests))
	for i, s := range b.rows {
		prompts[i] = s.prompt
		s.sampler.Prompt(s.prompt)
	}
	logits, err := b.model.Start(b.ctx, prompts)
	prefilled := requests[0].Now()
	for left := len(b.rows); ; {
		if err != nil {
			b.abort(err)
			return
		}
		for i, s := range b.rows {
			if s == nil {
				continue
			}
			token, done, rowErr := s.next(logits[i])
			now := s.now()
			s.stats.Prefill, s.stats.Decode = prefilled.Sub(start), now.Sub(prefilled)
			if s.stats.FirstToken == 0 {
				s.stats.FirstToken = now.Sub(start)
			}
			b.ids[i] = token.ID
			if rowErr == nil && token.ID >= 0 && !b.yield(RowToken{i, token}, nil) {
				return
			}
			if rowErr == nil && !done {
				continue
			}
			closing := s.last
			if rowErr != nil {
				closing = func() Token { return s.fail(rowErr) }
			}
			b.rows[i], b.ids[i] = nil, -1
			left--
			if !b.yield(RowToken{i, closing()}, rowErr) {
				return
			}
		}
		if left == 0 {
			return
		}
		if err = b.ctx.Err(); err == nil {
			logits, err = b.model.Step(b.ctx, b.ids)
		}
	}
}

// abort closes every row that is still open with err.
func (b *batch) abort(err error) {
	for i, s := range b.rows {
		if s != nil && !b.yield(RowToken{i, s.fail(err)}, err) {
			return
		}
	}
}
