package decode

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/engine/sample"
)

// Draft guesses by asking a smaller model of the same vocabulary for its likeliest tokens.
type Draft struct {
	model    Model
	sampler  *sample.Sampler // greedy
	own      int             // ids from here on the draft does not have: models of one tokenizer may have rows for more than its tokens
	vocab    int             // and these the other model does not have
	sequence []int32
	last     []int32 // guesses for what follows known tokens
	known    int
	broken   bool // its logits were no numbers: it guesses no more in this sequence
	chance   chance
	odds     [RowsMax]float64
}

// draftOdds is what is expected of a draft's guess before any was seen.
const draftOdds = 0.7

// draftMost bounds the guesses of one run: each costs a run of the draft, and every one after a wrong one is lost.
const draftMost = 8

// NewDraft makes a proposer of m, which has own tokens and whose tokens sampler chooses, for a model of vocab tokens.
func NewDraft(m Model, sampler *sample.Sampler, own, vocab int) *Draft {
	return &Draft{model: m, sampler: sampler, own: own, vocab: vocab}
}

// Begin has the draft read the prompt.
func (d *Draft) Begin(ctx context.Context, prompt []int32) error {
	*d = Draft{model: d.model, sampler: d.sampler, own: d.own, vocab: d.vocab, last: d.last[:0]}
	if len(prompt) >= d.model.Capacity() || !d.knows(prompt) {
		return nil
	}
	_, err := d.read(ctx, prompt)
	return d.distrust(ctx, err)
}

// knows says whether the draft has all tokens of a sequence.
func (d *Draft) knows(sequence []int32) bool {
	return !slices.ContainsFunc(sequence, func(id int32) bool { return int(id) >= d.own })
}

// read brings the draft to the end of a sequence, and gives the logits of its last token.
func (d *Draft) read(ctx context.Context, sequence []int32) (sample.Logits, error) {
	kept := min(commonPrefix(d.model.Held(), sequence), len(sequence)-1)
	if err := d.model.Keep(kept); err != nil {
		return sample.Logits{}, err
	}
	return d.model.Feed(ctx, sequence[kept:])
}

// distrust forgets what the draft holds after a fault of its own.
func (d *Draft) distrust(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		d.broken = true
		d.model.Keep(0) // an error here would only repeat itself at the next request
	}
	if err == nil || errors.Is(err, sample.ErrNumeric) {
		return nil
	}
	return fmt.Errorf("decode: ask the draft: %w", err)
}

// Odds is the share of guesses that were right of late.
func (d *Draft) Odds(sequence []int32, most int) []float64 {
	d.learn(sequence)
	d.sequence = sequence
	if d.broken || !d.knows(sequence) {
		return nil
	}
	odds := d.odds[:max(min(most, draftMost, d.model.Capacity()-len(sequence)), 0)]
	for i := range odds {
		odds[i] = d.chance.odds(draftOdds)
	}
	return odds
}

// learn compares the last guesses with what came. While there are none, what was seen loses weight, so that they are tried again one day.
func (d *Draft) learn(sequence []int32) {
	if len(d.last) == 0 {
		d.chance.forget()
	}
	for i, id := range d.last {
		if d.known+i >= len(sequence) {
			break
		}
		d.chance.note(sequence[d.known+i] == id)
		if sequence[d.known+i] != id {
			break
		}
	}
	d.last = d.last[:0]
}

// Propose has the draft go on.
func (d *Draft) Propose(ctx context.Context, n int) ([]int32, error) {
	d.last, d.known = d.last[:0], len(d.sequence)
	logits, err := d.read(ctx, d.sequence)
	for err == nil {
		var id int32
		if id, err = d.sampler.Next(logits, nil); err != nil || int(id) >= min(d.own, d.vocab) {
			break
		}
		if d.last = append(d.last, id); len(d.last) == n {
			break
		}
		logits, err = d.model.Feed(ctx, d.last[len(d.last)-1:])
	}
	return d.last, d.distrust(ctx, err)
}
