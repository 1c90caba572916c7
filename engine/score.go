package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
)

// Score is how likely a token was, given those before it.
type Score struct {
	LogProb float64 // natural logarithm of its probability
	Top     int32   // the likeliest token in its place
}

// Score gives the score of every token of ids after the first: len(ids) - 1 of them, computed with the adapters. Requests take turns, as with Generate.
func (m *Model) Score(ctx context.Context, ids []int32, adapters ...AdapterUse) ([]Score, error) {
	if len(ids) < 2 {
		return nil, fmt.Errorf("engine: score %d tokens: expected two or more, for the first has none before it", len(ids))
	}
	if len(ids) > m.context {
		return nil, fmt.Errorf("engine: score %d tokens: %w: it holds %d", len(ids), decode.ErrContext, m.context)
	}
	if err := m.checkIDs(ids); err != nil {
		return nil, err
	}
	set, drop, err := m.adapted(adapters)
	if err != nil {
		return nil, err
	}
	defer drop()
	cancel, release, err := m.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	r := m.runner
	r.cancel = cancel
	defer r.closeWide()
	if err := errors.Join(r.adapt(set), r.Keep(0)); err != nil {
		return nil, err
	}
	scores := make([]Score, 0, len(ids)-1)
	for rest := ids[:len(ids)-1]; len(rest) > 0; {
		n := min(len(rest), r.chunk, rowsMax)
		rows, err := r.FeedRows(ctx, rest[:n])
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			s, err := score(row, ids[len(scores)+1])
			if err != nil {
				return nil, m.cleared(fmt.Errorf("engine: score token %d: %w", len(scores)+1, err))
			}
			scores = append(scores, s)
		}
		rest = rest[n:]
	}
	return scores, nil
}

// score reads one row of logits, in float64: a float32 sum over a large vocabulary would lose digits that comparisons need.
func score(row sample.Logits, id int32) (Score, error) {
	top, ok := 0, false
	x := row.F32
	if x != nil {
		top, ok = kernels().Argmax(x)
	} else {
		top, ok = kernels().ArgmaxF16(row.F16)
		x = row.Floats()
	}
	if !ok {
		return Score{}, sample.ErrNumeric
	}
	most, sum := float64(x[top]), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - most)
	}
	return Score{LogProb: float64(x[id]) - most - math.Log(sum), Top: int32(top)}, nil
}

// Perplexity is the exponential of the mean surprise: how many tokens, equally likely, would have been as hard to guess. NaN without scores.
func Perplexity(scores []Score) float64 {
	sum := 0.0
	for _, s := range scores {
		sum += s.LogProb
	}
	return math.Exp(-sum / float64(len(scores)))
}
