package wizard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	tea "charm.land/bubbletea/v2"
	"charm.land/huh/v2"
)

// Forms asks on a terminal, one form for each question: what there is to know stays above it, to be scrolled to.
type Forms struct {
	In  *os.File
	Out io.Writer
}

// Ask asks one question. Escape goes back, Ctrl-C is an interrupt.
func (f Forms) Ask(ctx context.Context, q Question) (string, error) {
	fmt.Fprintln(f.Out)
	printHead(f.Out, q)
	value, back := q.Default, false
	keys := "enter takes it · ctrl+c leaves"
	if q.Back {
		keys = "enter takes it · esc goes back · ctrl+c leaves"
	}
	var field huh.Field
	if q.Kind == Choose {
		options := make([]huh.Option[string], len(q.Options))
		for i, o := range q.Options {
			options[i] = huh.NewOption(o.Label, o.Value)
		}
		field = huh.NewSelect[string]().Title(q.Title).Description(keys).Options(options...).Value(&value).Filtering(false).Validate(func(value string) error {
			for _, o := range q.Options {
				if o.Value == value && o.Trouble != "" {
					return fmt.Errorf("%s cannot run here", value)
				}
			}
			return nil
		})
	} else {
		input := huh.NewInput().Title(q.Title).Description(keys).Value(&value)
		if q.Kind == Secret {
			input.EchoMode(huh.EchoModePassword)
		}
		field = input
	}
	form := huh.NewForm(huh.NewGroup(field)).WithShowHelp(false).WithOutput(f.Out).
		WithProgramOptions(tea.WithoutSignalHandler(), tea.WithFilter(func(_ tea.Model, m tea.Msg) tea.Msg {
			if key, ok := m.(tea.KeyPressMsg); ok && key.String() == "esc" && q.Back {
				back = true
				return tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl} // which ends the form
			}
			return m
		}))
	err := f.run(ctx, form)
	switch {
	case back:
		fmt.Fprintln(f.Out, "(back)")
		return "", ErrBack
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, huh.ErrUserAborted):
		return "", context.Canceled
	case err != nil:
		return "", fmt.Errorf("wizard: show a question: %w", err)
	}
	shown := value
	if q.Kind == Secret {
		shown = "(not shown)"
	}
	_, err = fmt.Fprintf(f.Out, "%s %s\n", q.Title, shown)
	return value, err
}

func (f Forms) run(ctx context.Context, form *huh.Form) error {
	keys, err := openKeyboard(f.In)
	if err != nil {
		return err
	}
	return errors.Join(form.WithInput(keys).RunWithContext(ctx), keys.Close())
}

// Wrong says what was wrong with an answer.
func (f Forms) Wrong(err error) error {
	_, err = fmt.Fprintf(f.Out, "\n%s\n", err)
	return err
}
