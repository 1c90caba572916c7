package router

import (
	"context"
	"fmt"
	"iter"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/bootstrap"
	"github.com/shammah/shammah-engine/internal/claude"
)

// Machine is the model of this machine, with one question for it.
type Machine interface {
	State() bootstrap.State
	// Fits is nil if the question's prompt and answer fit the model. It is asked only when the model is ready.
	Fits() error
	// Answer is the answer as engine.Model gives it.
	Answer(ctx context.Context) iter.Seq2[decode.Token, error]
}

// Remote is Claude. *claude.Client is one.
type Remote interface {
	Available() error
	Model() string
	Stream(ctx context.Context, q claude.Request) iter.Seq2[claude.Piece, error]
}

// Question is what is asked, of whom, in both forms.
type Question struct {
	Mode    Mode
	Machine Machine
	Remote  Remote
	Request claude.Request // for Remote
}

// Piece is a part of an answer, with who gives it and why. The last one has Done.
type Piece struct {
	Decision
	Model string // the name of who answers
	Text  string
	Done  *Done
}

// Done is what an answer took.
type Done struct {
	Prompt    int // tokens
	Generated int
	Finish    decode.Finish
	Local     *decode.Stats // of this machine's answer; nil for Claude's
}

// Answer lets the one answer who is to. All text of an answer comes from one of them: an error ends the sequence, and
// text that came before it is a fragment. In mode Auto Claude is asked when the local model fails before its first text.
func Answer(ctx context.Context, q Question) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		s := Situation{Mode: q.Mode, Local: q.Machine.State(), Remote: q.Remote.Available()}
		if q.Mode != Claude && s.Local.Phase == bootstrap.Ready {
			s.Fits = q.Machine.Fits()
		}
		d, err := Decide(s)
		if err != nil {
			yield(Piece{}, err)
			return
		}
		if d.Who == ByLocal {
			failure := q.local(ctx, yield, Piece{Decision: d, Model: name(s.Local)}, q.Mode == Auto && s.Remote == nil)
			if failure == nil {
				return
			}
			d = Decision{ByClaude, fmt.Sprintf("%s failed: %s", name(s.Local), failure)}
		}
		q.remote(ctx, yield, Piece{Decision: d, Model: q.Remote.Model()})
	}
}

// local gives this machine's answer. A failure before the first text is not given to the reader but returned, if another can try.
func (q Question) local(ctx context.Context, yield func(Piece, error) bool, p Piece, another bool) (failure error) {
	begun := false
	for token, err := range q.Machine.Answer(ctx) {
		begun = begun || token.Text != ""
		if err != nil && !begun && another && ctx.Err() == nil {
			return err
		}
		if token.Text == "" && token.Stats == nil && err == nil {
			continue // a token whose text is held back
		}
		p.Text = token.Text
		if token.Stats != nil {
			p.Done = &Done{token.Stats.PromptTokens, token.Stats.Generated, token.Stats.Finish, token.Stats}
		}
		if !yield(p, err) || err != nil {
			return nil
		}
	}
	return nil
}

func (q Question) remote(ctx context.Context, yield func(Piece, error) bool, p Piece) {
	for piece, err := range q.Remote.Stream(ctx, q.Request) {
		p.Text = piece.Text
		if u := piece.Usage; u != nil {
			p.Done = &Done{Prompt: u.Input, Generated: u.Output, Finish: finish(u.Finish)}
		}
		if !yield(p, err) || err != nil {
			return
		}
	}
}

// finish is the service's word for the end of an answer in this program's words. What has none stays: refusal, for one.
func finish(word string) decode.Finish {
	switch word {
	case "end_turn":
		return decode.FinishEnd
	case "stop_sequence":
		return decode.FinishStop
	case "max_tokens", "model_context_window_exceeded":
		return decode.FinishLength
	}
	return decode.Finish(word)
}
