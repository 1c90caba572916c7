// Package router decides who answers, the model of this machine or Claude, and says why. Then it lets that one answer.
package router

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/internal/bootstrap"
)

// Mode is what the user wants.
type Mode string

// The modes.
const (
	Auto   Mode = "auto"   // this machine if it can, else Claude
	Local  Mode = "local"  // this machine only: nothing leaves it
	Claude Mode = "claude" // Claude only
)

// ParseMode reads a mode; "" is Auto.
func ParseMode(text string) (Mode, error) {
	switch m := cmp.Or(Mode(text), Auto); m {
	case Auto, Local, Claude:
		return m, nil
	}
	return "", fmt.Errorf("router: the mode is %q, expected auto, local or claude", text)
}

// Who answers.
type Who string

// The two that can.
const (
	ByLocal  Who = "local"
	ByClaude Who = "claude"
)

// ErrNobody says that nobody can answer now. The text says why of each that was meant to.
var ErrNobody = errors.New("nobody can answer")

// Situation is all that a decision depends on.
type Situation struct {
	Mode   Mode
	Local  bootstrap.State
	Fits   error // why the prompt cannot be given to the local model; decode.ErrContext if it is too long. Counts when the model is ready
	Remote error // why Claude cannot be asked now; nil if it can
}

// Decision is who answers, and why.
type Decision struct {
	Who Who
	Why string // half a sentence: "tiny is being loaded"
}

// Decide decides. An error is ErrNobody.
func Decide(s Situation) (Decision, error) {
	trouble := s.trouble()
	switch {
	case s.Mode == Claude && s.Remote == nil:
		return Decision{ByClaude, "the mode is claude"}, nil
	case s.Mode == Claude:
		return Decision{}, fmt.Errorf("router: %w: the mode is claude, and %w", ErrNobody, s.Remote)
	case s.Mode == Local && trouble == nil:
		return Decision{ByLocal, "the mode is local"}, nil
	case s.Mode == Local:
		return Decision{}, fmt.Errorf("router: %w: the mode is local, and %w", ErrNobody, trouble)
	case trouble == nil:
		return Decision{ByLocal, name(s.Local) + " is ready and the prompt fits"}, nil
	case s.Remote == nil:
		return Decision{ByClaude, trouble.Error()}, nil
	}
	return Decision{}, fmt.Errorf("router: %w: %w; %w", ErrNobody, trouble, s.Remote)
}

// trouble is why the model of this machine cannot answer; nil if it can.
func (s Situation) trouble() error {
	local := s.Local
	switch {
	case local.Phase != bootstrap.Ready && local.Err != nil:
		cause := local.Err
		local.Err = nil
		return fmt.Errorf("%s %s: %w", name(local), local, cause)
	case local.Phase != bootstrap.Ready:
		return fmt.Errorf("%s %s", name(local), local)
	case errors.Is(s.Fits, decode.ErrContext):
		return fmt.Errorf("the prompt does not fit %s: %w", name(local), s.Fits)
	case s.Fits != nil:
		return fmt.Errorf("%s cannot take the prompt: %w", name(local), s.Fits)
	}
	return nil
}

func name(s bootstrap.State) string { return cmp.Or(s.Model, "the model of this machine") }
