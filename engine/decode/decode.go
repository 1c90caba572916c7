// Package decode is the generation loop: prefill, then one token at a time, until an end of text, a stop string or a budget.
// It works over small interfaces and knows no native code, no file and no clock, so that a scripted model tests it.
//
// With a Proposer, single sequences are decoded speculatively: what is guessed to come is computed in the same run as the last token, and
// the sampler draws each token from its own row, in order, as it would without. A guess that is the token that was drawn saves a run; at
// the first that is not, the rest is forgotten. So every token, end and stop string is the same with and without. Batches do not speculate.
package decode

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/shammah/shammah-engine/engine/sample"
)

// ErrContext says that a prompt and what is asked of it do not fit the context.
var ErrContext = errors.New("context too small")

// ContextError is the ErrContext of one prompt, in numbers.
type ContextError struct {
	Prompt  int  // its tokens
	AtLeast bool // and it may have more: they were not counted to the end
	More    int  // tokens that are asked for beside it
	Context int
}

func (e *ContextError) Error() string {
	atLeast := ""
	if e.AtLeast {
		atLeast = "at least "
	}
	return fmt.Sprintf("%v: the prompt has %s%d tokens and up to %d more are asked for, the context holds %d; shorten the prompt, ask for fewer tokens or take a larger context",
		ErrContext, atLeast, e.Prompt, e.More, e.Context)
}

// Unwrap is ErrContext.
func (e *ContextError) Unwrap() error { return ErrContext }

// Model computes logits for one sequence. It is not safe for concurrent use.
type Model interface {
	// Feed appends ids to the sequence and gives the logits of the last of them: one row of (vocab), valid until the next Feed.
	Feed(ctx context.Context, ids []int32) (sample.Logits, error)
	// Held is the tokens of the sequence, valid until the next Feed or Keep.
	Held() []int32
	// Keep forgets every token from position n on.
	Keep(n int) error
	// Capacity is the number of tokens that the sequence may hold.
	Capacity() int
}

// Text turns ids into text piece by piece. It holds back what may still change, half a character for one.
type Text interface {
	Push(id int32) (string, error)
	Flush() (string, error)
}

// Stops finds stop strings in streamed text. What Push returns can be shown at once.
type Stops interface {
	Push(text string) (shown string, stopped bool)
	Flush() string
}

// Overflow is what happens when a sequence reaches the end of the context.
type Overflow int

const (
	// OverflowError refuses a request that cannot fit before anything is computed. A request without a token budget ends with FinishLength at the end of the context.
	OverflowError Overflow = iota
	// OverflowTruncate drops the oldest tokens of the prompt until prompt and budget fit; a quarter of the context is left for an answer without a budget.
	OverflowTruncate
	// OverflowShift drops the older half of the sequence whenever the context is full, and goes on.
	OverflowShift
)

// Finish is why a generation ended.
type Finish string

const (
	FinishEnd       Finish = "stop"        // an end of text of the model
	FinishStop      Finish = "stop_string" // a stop string of the request
	FinishLength    Finish = "length"      // the token budget, or the end of the context
	FinishCancelled Finish = "cancelled"   // the caller's context
	FinishError     Finish = "error"
)

// Stats says what a request did and how long it took.
type Stats struct {
	PromptTokens int
	Reused       int           // tokens of the prompt that the cache still held from the request before
	Generated    int           // tokens that were given out; the end of text is not one of them
	Proposed     int           // guesses that were computed
	Accepted     int           // guesses that were right: runs that were saved
	Prefill      time.Duration // computing the prompt, but for what was reused
	FirstToken   time.Duration // from the request to its first token
	Decode       time.Duration // from the first token to the last
	Finish       Finish
	Dropped      int // tokens that an Overflow other than OverflowError dropped
}

// PrefillRate is prompt tokens computed per second, or 0 when nothing was computed.
func (s Stats) PrefillRate() float64 { return rate(s.PromptTokens-s.Reused, s.Prefill) }

// DecodeRate is tokens per second after the first one, or 0 when there were fewer than two.
func (s Stats) DecodeRate() float64 { return rate(s.Generated-1, s.Decode) }

func rate(n int, d time.Duration) float64 {
	if n <= 0 || d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Token is one step of an answer. The last one of an answer has Stats, ID -1, and whatever text was still held back.
type Token struct {
	ID    int32
	Text  string // what can be shown now; empty while half a character or a possible stop string is held back
	Stats *Stats
}

// Request is one sequence to continue.
type Request struct {
	Prompt    []int32
	Sampler   *sample.Sampler
	Text      Text  // nil: tokens only
	Stops     Stops // nil: none
	Ends      []int32
	MaxTokens int // 0: until the context is full
	MinTokens int // ends of text are not sampled before this many tokens
	IgnoreEnd bool
	Overflow  Overflow
	Cold      bool             // compute the whole prompt, whatever the model still holds
	Now       func() time.Time // the caller's clock
	Proposers []Proposer       // who guesses; they need a WideModel, and Generate alone asks them
}

// Generate runs the loop for one sequence. The sequence yields tokens and closes with one that carries Stats, beside the error if there is one.
// Nothing is computed after the last token.
func Generate(ctx context.Context, m Model, q Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		g := generation{sequence: newSequence(&q, m.Capacity()), ctx: ctx, model: m, start: q.Now(), yield: yield}
		err := g.fit()
		if err == nil {
			err = g.speculate(q.Proposers)
		}
		if err != nil {
			yield(g.sequence.fail(err), err)
			return
		}
		g.run()
	}
}

// generation is the state of one running Generate.
type generation struct {
	*sequence
	ctx   context.Context
	model Model
	yield func(Token, error) bool
	start time.Time
	first time.Time // when the first token was there

	spec  *speculation // nil: one token a run
	wide  WideModel    // model, where there is speculation
	rows  [1]sample.Logits
	fed   []int32 // of the last run
	whole []int32 // all tokens, the last one not fed yet
}

func (g *generation) run() {
	g.sampler.Prompt(g.prompt)
	rows, err := g.prefill()
	if err != nil {
		g.yield(g.fail(err), err)
		return
	}
	g.first = g.now()
	g.stats.Prefill = g.first.Sub(g.start)
	var guess []int32
	for {
		last, more := g.take(rows, guess)
		if !more {
			return
		}
		if rows, guess, err = g.step(last); err != nil {
			g.yield(g.fail(err), err)
			return
		}
	}
}

// take draws a token from each row, until one is not the guess that the next row was computed for, and has the model forget the guesses
// that nothing was drawn from. more is false when the sequence has ended.
func (g *generation) take(rows []sample.Logits, guess []int32) (last int32, more bool) {
	i, before := 0, len(g.model.Held())-len(guess)
	for {
		if last, more = g.give(rows[i]); !more || i == len(guess) || guess[i] != last || g.ctx.Err() != nil {
			break
		}
		i++
		g.stats.Accepted++
	}
	if g.spec != nil {
		g.spec.accepted(i)
	}
	if len(g.model.Held()) <= before+i { // nothing to forget, or all was after a fault
		return last, more
	}
	if err := g.model.Keep(before + i); err != nil && more {
		g.yield(g.fail(err), err)
		return last, false
	}
	return last, more
}

// give draws a token and gives it out. more is false when it was the last one, or the caller has left.
func (g *generation) give(logits sample.Logits) (id int32, more bool) {
	token, done, err := g.next(logits)
	now := g.now()
	if g.stats.Generated == 1 && g.stats.FirstToken == 0 {
		g.stats.FirstToken = now.Sub(g.start)
		g.first = now
	}
	g.stats.Decode = now.Sub(g.first)
	if err != nil {
		g.yield(g.fail(err), err)
		return -1, false
	}
	if token.ID >= 0 && !g.yield(token, nil) {
		return token.ID, false
	}
	if done {
		g.yield(g.last(), nil)
	}
	return token.ID, !done
}

// fail closes the sequence. What the model holds after a fault of its own is not trusted again.
func (g *generation) fail(err error) Token {
	if g.ctx.Err() == nil {
		g.model.Keep(0) // an error here would only repeat itself at the next request
	}
	return g.sequence.fail(err)
}

// prefill computes the prompt from where it parts from what the model holds. The last token is always computed: its logits are needed.
func (g *generation) prefill() ([]sample.Logits, error) {
	if !g.cold {
		g.stats.Reused = min(commonPrefix(g.model.Held(), g.prompt), len(g.prompt)-1)
	}
	if err := g.model.Keep(g.stats.Reused); err != nil {
		return nil, err
	}
	rows, err := g.feed(g.prompt[g.stats.Reused:])
	if err == nil && g.spec != nil {
		err = g.spec.begin(g.ctx, g.prompt)
	}
	return rows, err
}

func commonPrefix(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// feed gives ids to the model, after making room where the request allows that, and gives the last one's logits.
func (g *generation) feed(ids []int32) (rows []sample.Logits, err error) {
	if err := g.ctx.Err(); err != nil {
		return nil, err
	}
	held, capacity := g.model.Held(), g.model.Capacity()
	if g.overflow == OverflowShift && len(held)+len(ids) > capacity {
		kept := slices.Clone(held[len(held)-capacity/2:])
		g.stats.Dropped += len(held) - len(kept)
		if err := g.model.Keep(0); err != nil {
			return nil, err
		}
		ids = append(kept, ids...)
	}
	g.rows[0], err = g.model.Feed(g.ctx, ids)
	return g.rows[:], err
}

// fit checks prompt and budget against the context, and drops what the request allows to drop.
func (g *generation) fit() error {
	capacity := g.model.Capacity()
	if len(g.prompt) == 0 {
		return fmt.Errorf("decode: generate: the prompt has no tokens")
	}
	if g.maxTokens < 0 || g.minTokens < 0 {
		return fmt.Errorf("decode: generate: max tokens %d and min tokens %d must not be negative", g.maxTokens, g.minTokens)
	}
	room := capacity - max(g.maxTokens, 1)
	if g.overflow == OverflowTruncate && g.maxTokens == 0 {
		room -= capacity / 4
	}
	switch {
	case len(g.prompt) <= room:
	case g.overflow == OverflowTruncate && room > 0:
		g.stats.Dropped = len(g.prompt) - room
		g.prompt = g.prompt[len(g.prompt)-room:]
	case g.overflow == OverflowShift && len(g.prompt) < capacity:
	case g.overflow == OverflowShift && capacity > 1:
		g.stats.Dropped = len(g.prompt) - capacity/2
		g.prompt = g.prompt[len(g.prompt)-capacity/2:]
	default:
		return fmt.Errorf("decode: generate: %w", &ContextError{Prompt: len(g.prompt), More: max(g.maxTokens, 1), Context: capacity})
	}
	g.stats.PromptTokens = len(g.prompt)
	if g.overflow != OverflowShift {
		g.budget(capacity - len(g.prompt))
	}
	return nil
}
