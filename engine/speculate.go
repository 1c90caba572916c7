package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
)

// Speculate says whether what is likely to come is computed before it was drawn. The tokens are the same, to the last one: only models
// for which several tokens in a run have the very logits of a run each are asked for more than one at a time.
type Speculate int

const (
	SpeculateAuto Speculate = iota // where the model allows it, and as long as it pays
	SpeculateOff
)

// Joint says why this model does not speculate: several tokens in one run might have other logits, in their last bits, than in a run each.
// "" if it does.
func (m *Model) Joint() string {
	switch {
	case m.kernels != "":
		return "the runtime computes it: " + m.kernels
	case m.packed == nil:
		return "the runtime computes it"
	case !m.spec.Shared:
		return "its cache is copied at every step"
	}
	return m.packed.plan.Joint()
}

// checkDraft refuses a draft that could never help. Vocabularies are compared token by token: the same size says nothing.
func (m *Model) checkDraft(d *Model) error {
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("engine: open %s: draft %s: %s", m.spec.Name, d.spec.Name, fmt.Sprintf(format, a...))
	}
	select {
	case <-d.closed:
		return refuse("it is closed")
	default:
	}
	if why := m.Joint(); why != "" {
		return refuse("its guesses cannot be verified: %s", why)
	}
	if m.tokenizer == nil || d.tokenizer == nil {
		return refuse("vocabularies cannot be compared: open both models with their tokenizers")
	}
	for id := range int32(max(m.tokenizer.Size(), d.tokenizer.Size())) {
		want, known := m.tokenizer.Token(id)
		if got, has := d.tokenizer.Token(id); got != want || has != known {
			return refuse("it has another vocabulary: token %d is %q, expected %q; choose a draft of the same family", id, got, want)
		}
	}
	return nil
}

// proposers are those who guess for a request. release gives the draft back.
func (m *Model) proposers(ctx context.Context, q Request) (list []decode.Proposer, release func(), err error) {
	if q.Speculate == SpeculateOff || m.Joint() != "" {
		return nil, func() {}, nil
	}
	list = []decode.Proposer{new(decode.Lookup)}
	if m.draft == nil {
		return list, func() {}, nil
	}
	cancel, release, err := m.draft.take(ctx)
	if errors.Is(err, ErrClosed) {
		err = fmt.Errorf("engine: ask the draft %s: it was closed before its model: %w", m.draft.spec.Name, err)
	}
	if err != nil {
		return nil, nil, err
	}
	m.draft.runner.cancel = cancel
	if err := m.draft.runner.adapt(); err != nil { // whatever its own last request computed with, which may be gone
		release()
		return nil, nil, err
	}
	greedy := sample.New(sample.Params{}, m.draft.spec.Vocab, kernels())
	return append(list, decode.NewDraft(m.draft.runner, greedy, m.draft.spec.Vocab, m.spec.Vocab)), release, nil
}
