package wizard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Plain asks with numbered lines, for a pipe or a terminal that cannot do more.
type Plain struct {
	in  *bufio.Reader
	out io.Writer
	// hidden reads a line that must not be seen; nil where nothing shows what is typed.
	hidden func() (string, error)
}

// NewPlain asks on out and reads the answers from in, those that must not be seen through hidden if it is not nil.
func NewPlain(in io.Reader, out io.Writer, hidden func() (string, error)) *Plain {
	return &Plain{in: bufio.NewReader(in), out: out, hidden: hidden}
}

// Ask asks one question. An empty line is its default, b goes back, and q is an interrupt.
func (p *Plain) Ask(ctx context.Context, q Question) (string, error) {
	fmt.Fprintln(p.out)
	printHead(p.out, q)
	fmt.Fprintln(p.out, q.Title)
	hint := "q leaves"
	if q.Back {
		hint = "b goes back, q leaves"
	}
	number := 0
	for i, o := range q.Options {
		fmt.Fprintf(p.out, "  %2d) %s\n", i+1, o.Label)
		if o.Value == q.Default {
			number = i + 1
		}
	}
	switch {
	case number > 0:
		fmt.Fprintf(p.out, "[%d] (%s): ", number, hint)
	case q.Default != "":
		fmt.Fprintf(p.out, "[%s] (%s): ", q.Default, hint)
	default:
		fmt.Fprintf(p.out, "(%s): ", hint)
	}
	line, err := p.line(ctx, q.Kind == Secret)
	if err != nil {
		return "", err
	}
	switch strings.ToLower(line) {
	case "":
		return q.Default, nil
	case "b", "back":
		return "", ErrBack
	case "q", "quit":
		return "", context.Canceled
	}
	if n, err := strconv.Atoi(line); err == nil && n >= 1 && n <= len(q.Options) {
		return q.Options[n-1].Value, nil
	}
	return line, nil
}

// printHead writes what there is to know before a question.
func printHead(out io.Writer, q Question) {
	if q.Notice != "" {
		fmt.Fprintf(out, "%s\n\n", q.Notice)
	}
	for _, line := range q.Text {
		fmt.Fprintf(out, "  %s\n", line)
	}
	if len(q.Text) > 0 {
		fmt.Fprintln(out)
	}
}

// line reads one line. A read cannot be interrupted: when ctx ends it is left behind, and the program is about to end, too.
func (p *Plain) line(ctx context.Context, secret bool) (string, error) {
	type read struct {
		text string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		if secret && p.hidden != nil {
			text, err := p.hidden()
			fmt.Fprintln(p.out)
			got <- read{text, err}
			return
		}
		text, err := p.in.ReadString('\n')
		if errors.Is(err, io.EOF) && text != "" {
			err = nil
		}
		got <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-got:
		if errors.Is(r.err, io.EOF) {
			return "", errors.New("wizard: the answers ended before the questions did")
		}
		return strings.TrimSpace(r.text), r.err
	}
}

// Wrong says what was wrong with an answer.
func (p *Plain) Wrong(err error) error {
	_, err = fmt.Fprintf(p.out, "%s\n", err)
	return err
}
