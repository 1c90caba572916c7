package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/engine/text"
	"github.com/shammah/shammah-engine/ort"
)

// ErrClosed is the answer to every call on a model that was closed.
var ErrClosed = errors.New("engine: the model is closed")

// errNoText is the answer to a request for text on a model that was opened without.
var errNoText = errors.New("engine: read the request: the model was opened without its tokenizer: give tokens and ask for tokens only")

// Token is one step of an answer: an id, and the text that can be shown now. The last one carries Stats.
type Token = decode.Token

// Stats says what a request did and how long it took.
type Stats = decode.Stats

// Request is one prompt to continue: Messages through the model's chat template, or Prompt as it is, or Tokens.
type Request struct {
	Messages []chat.Message
	Prompt   string  // no template; control tokens in it count
	Tokens   []int32 // ids of the model's own vocabulary

	Sampling   sample.Params // the zero value is greedy; see DefaultSampling for the model's own
	MaxTokens  int           // 0: until the context is full
	MinTokens  int
	Stop       []string // not with TokensOnly
	IgnoreEnd  bool     // go on after an end of text, for measurements
	Overflow   decode.Overflow
	TokensOnly bool // leave Token.Text empty
	Speculate  Speculate
	Cold       bool // compute the whole prompt even if its beginning is still in the cache, for measurements
	Adapters   []AdapterUse
}

// Generate continues a request token by token. What the cache still holds of the request before is not computed again, where both begin
// alike. The sequence closes with a Token that has Stats; an error comes beside it.
// Cancelling ctx, or leaving the loop, ends the work within one step and leaves the model usable. Requests take turns: inside the loop,
// another request to the same model or its draft, and its Close, would wait for ever.
func (m *Model) Generate(ctx context.Context, q Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		fail := func(err error) {
			finish := decode.FinishError
			if ctx.Err() != nil {
				finish = decode.FinishCancelled
			}
			yield(Token{ID: -1, Stats: &Stats{Finish: finish}}, err)
		}
		r, done, err := m.prepare(q)
		if err != nil {
			fail(err)
			return
		}
		defer done()
		set, drop, err := m.adapted(q.Adapters)
		if err != nil {
			fail(err)
			return
		}
		defer drop()
		cancel, release, err := m.take(ctx)
		if err != nil {
			fail(err)
			return
		}
		defer release()
		m.runner.cancel = cancel
		if err := m.runner.adapt(set); err != nil {
			fail(err)
			return
		}
		proposers, giveBack, err := m.proposers(ctx, q)
		if err != nil {
			fail(err)
			return
		}
		defer giveBack()
		defer m.runner.closeWide()
		m.runner.few(q.Sampling)
		defer m.runner.few()
		r.Proposers = proposers
		for token, err := range decode.Generate(ctx, m.runner, r) {
			if !yield(token, m.cleared(err)) {
				return
			}
		}
	}
}

// GenerateBatch continues several requests in the same steps. Each row's text is what the request alone would give. Batches do not speculate.
func (m *Model) GenerateBatch(ctx context.Context, requests []Request) iter.Seq2[decode.RowToken, error] {
	return func(yield func(decode.RowToken, error) bool) {
		fail := func(err error) {
			yield(decode.RowToken{Row: -1, Token: Token{ID: -1}}, err)
		}
		rows, sets, params := make([]decode.Request, len(requests)), make([]adapted, len(requests)), make([]sample.Params, len(requests))
		for i, q := range requests {
			r, done, err := m.prepare(q)
			if err != nil {
				fail(fmt.Errorf("engine: request %d of the batch: %w", i, err))
				return
			}
			defer done()
			set, drop, err := m.adapted(q.Adapters)
			if err != nil {
				fail(fmt.Errorf("engine: request %d of the batch: %w", i, err))
				return
			}
			defer drop()
			rows[i], sets[i], params[i] = r, set, q.Sampling
		}
		cancel, release, err := m.take(ctx)
		if err != nil {
			fail(err)
			return
		}
		defer release()
		b := newBatchRunner(m, sets, params, cancel)
		defer b.Close()
		for token, err := range decode.GenerateBatch(ctx, b, rows) {
			if !yield(token, err) {
				return
			}
		}
	}
}

// take waits for the model's turn and arms the cancellation of its runs by ctx.
func (m *Model) take(ctx context.Context) (cancel *ort.RunOptions, release func(), err error) {
	select {
	case <-m.closed:
		return nil, nil, ErrClosed
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-m.turn:
	}
	if cancel, err = m.env.NewRunOptions(); err != nil {
		m.turn <- struct{}{}
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, cancel.Terminate)
	return cancel, func() {
		stop()
		cancel.Close()
		m.turn <- struct{}{}
	}, nil
}

// prepare checks a request and turns it into ids, sampler and text stream. done frees what it holds.
func (m *Model) prepare(q Request) (r decode.Request, done func(), err error) {
	select {
	case <-m.closed:
		return r, nil, ErrClosed
	default:
	}
	if err := q.Sampling.Check(m.spec.Vocab); err != nil {
		return r, nil, err
	}
	if m.tokenizer == nil && !q.TokensOnly {
		return r, nil, errNoText
	}
	if len(q.Stop) > 0 && q.TokensOnly {
		return r, nil, errors.New("engine: read the request: stop strings are found in text, and tokens only were asked for; leave out one of the two")
	}
	ids, err := m.Encode(q)
	if err != nil {
		return r, nil, err
	}
	r = decode.Request{
		Prompt: ids, Sampler: sample.New(q.Sampling, m.spec.Vocab, kernels()), Ends: m.spec.End,
		MaxTokens: q.MaxTokens, MinTokens: q.MinTokens, IgnoreEnd: q.IgnoreEnd, Overflow: q.Overflow, Cold: q.Cold, Now: time.Now,
	}
	if len(q.Stop) > 0 {
		stops, err := chat.NewStops(q.Stop)
		if err != nil {
			return r, nil, err
		}
		r.Stops = stops
	}
	if q.TokensOnly {
		return r, func() {}, nil
	}
	stream := m.tokenizer.NewStream(false)
	r.Text = stream
	return r, stream.Close, nil
}

// kernels is package cpu's, as the sampler takes them.
func kernels() sample.Kernels {
	return sample.Kernels{Argmax: cpu.Argmax, ArgmaxF16: cpu.ArgmaxF16, TopK: cpu.TopK, Softmax: cpu.Softmax}
}

// Encode is the ids of a request's prompt, as Generate would compute them. A prompt that Generate would refuse as too long is a
// *decode.ContextError here already.
func (m *Model) Encode(q Request) ([]int32, error) {
	given := 0
	for _, b := range []bool{len(q.Messages) > 0, q.Prompt != "", len(q.Tokens) > 0} {
		if b {
			given++
		}
	}
	if given != 1 {
		return nil, fmt.Errorf("engine: read the request: expected exactly one of messages, prompt and tokens, found %d", given)
	}
	if m.tokenizer == nil && len(q.Tokens) == 0 {
		return nil, errNoText
	}
	room, most := m.context-max(q.MaxTokens, 1), 0
	limited := q.Overflow == decode.OverflowError // else what does not fit is dropped
	if limited {
		most = max(room, 1)
	}
	ids := q.Tokens
	var err error
	switch {
	case q.Prompt != "":
		ids, err = m.tokenizer.Encode(q.Prompt, text.EncodeOptions{AddSpecial: true, Most: most})
	case len(q.Messages) > 0:
		ids, err = m.encodeMessages(q.Messages, most)
	}
	var long *text.LongError
	switch {
	case errors.As(err, &long):
		return nil, m.tooLong(q, long.Least, true)
	case errors.Is(err, text.ErrClosed):
		return nil, ErrClosed
	case err != nil:
		return nil, err
	case limited && len(ids) > room:
		return nil, m.tooLong(q, len(ids), false)
	}
	if err := m.checkIDs(ids); err != nil {
		return nil, err
	}
	return ids, nil
}

func (m *Model) tooLong(q Request, tokens int, atLeast bool) error {
	return fmt.Errorf("engine: read the request: %w", &decode.ContextError{Prompt: tokens, AtLeast: atLeast, More: max(q.MaxTokens, 1), Context: m.context})
}

// checkIDs refuses ids that the model's vocabulary does not have.
func (m *Model) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.spec.Vocab {
			return fmt.Errorf("engine: read the request: token %d is %d, expected an id from 0 to %d", i, id, m.spec.Vocab-1)
		}
	}
	return nil
}
