package wizard

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrBack says that the user wants the question before.
var ErrBack = errors.New("back")

// Screen asks a person.
type Screen interface {
	// Ask gives an answer, ErrBack, or the end of ctx, which is also what the user's own interrupt is.
	Ask(ctx context.Context, q Question) (string, error)
	// Wrong says what was wrong with the last answer. An error of its own means that no other answer will come.
	Wrong(err error) error
}

// Effects are what the wizard cannot do itself.
type Effects struct {
	Check func(ctx context.Context, key string) error
	Save  func(values map[string]string) error
}

// Run asks until all is done. If it gives an error, and Save was not called, nothing was written.
func Run(ctx context.Context, w *Wizard, s Screen, e Effects) error {
	for w.Step() != Done {
		var err error
		switch w.Step() {
		case Checking:
			err = w.check(ctx, s, e)
		case Saving:
			if err = e.Save(w.Values()); err == nil {
				w.Saved()
			}
		default:
			err = w.ask(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Wizard) ask(ctx context.Context, s Screen) error {
	q, err := w.Question()
	if err != nil {
		return err
	}
	answer, err := s.Ask(ctx, q)
	switch {
	case errors.Is(err, ErrBack):
		if !w.Back() {
			return s.Wrong(errors.New("there is no question before this one"))
		}
		return nil
	case err != nil:
		return err
	}
	if err := w.Answer(answer); errors.Is(err, ErrDiscarded) {
		return err
	} else if err != nil {
		return s.Wrong(err)
	}
	return nil
}

func (w *Wizard) check(ctx context.Context, s Screen, e Effects) error {
	err := e.Check(ctx, w.Key())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if err := s.Wrong(fmt.Errorf("check the key for Claude: %w", err)); err != nil {
			return err
		}
	}
	w.Checked(err)
	return nil
}

// Defaults is a Screen on which nobody sits: every question gets its default.
type Defaults struct {
	Out io.Writer // for notices
}

// Ask gives the default. What a person would be warned about is an error.
func (d Defaults) Ask(ctx context.Context, q Question) (string, error) {
	if q.Notice != "" {
		fmt.Fprintln(d.Out, q.Notice)
	}
	if q.Step == Large {
		return "", fmt.Errorf("wizard: choose the size: %s %s --force takes it all the same", q.Text[0], q.Text[1])
	}
	return q.Default, ctx.Err()
}

// Wrong gives the error back.
func (d Defaults) Wrong(err error) error { return fmt.Errorf("wizard: %w", err) }
