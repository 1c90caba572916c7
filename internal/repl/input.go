package repl

import (
	"bufio"
	"context"
	"io"
	"strings"
)

// Input is where the user's words come from.
type Input interface {
	// Read gives one input: a line, or several that belong together. io.EOF is Ctrl-D, ErrInterrupted is Ctrl-C.
	Read(ctx context.Context, s *Session) (string, error)
	// Interrupts gives a value for each Ctrl-C while no Read runs.
	Interrupts() <-chan struct{}
	// Interactive says whether a person sits there, who can try again after an error.
	Interactive() bool
}

// lineBytesMax bounds one line of a Lines.
const lineBytesMax = 16 << 20

// Lines is input without an editor: a pipe, a file, or a terminal that can do no more than show lines one below the other.
type Lines struct {
	lines      chan string
	failed     chan error
	done       chan struct{}
	interrupts <-chan struct{}
	terminal   bool
	shown      string // the status line that was shown last
}

// NewLines reads lines from in, to its end and in the background: an interrupt must be seen while one waits for a line.
func NewLines(in io.Reader, terminal bool, interrupts <-chan struct{}) *Lines {
	l := &Lines{lines: make(chan string), failed: make(chan error, 1), done: make(chan struct{}), interrupts: interrupts, terminal: terminal}
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, lineBytesMax)
		for scanner.Scan() {
			select {
			case l.lines <- strings.ToValidUTF8(scanner.Text(), "\ufffd"):
			case <-l.done:
				return
			}
		}
		err := scanner.Err()
		if err == nil {
			err = io.EOF
		}
		l.failed <- err
		close(l.lines)
	}()
	return l
}

// Close ends the reading, but for a read that waits for its source: that ends with the source.
func (l *Lines) Close() { close(l.done) }

// Interrupts is the channel that NewLines was given.
func (l *Lines) Interrupts() <-chan struct{} { return l.interrupts }

// Interactive says whether the lines come from a terminal.
func (l *Lines) Interactive() bool { return l.terminal }

// Read gives one line, or all lines from """ to """.
func (l *Lines) Read(ctx context.Context, s *Session) (string, error) {
	s.tell()
	if status := s.status(s.Output.width() - 1); l.terminal && status != l.shown && status != "" {
		l.shown = status
		s.Output.Note(status)
	}
	prompt, text := promptFirst, ""
	for {
		if l.terminal {
			s.Output.write(s.Output.Notes, prompt)
		}
		select {
		case line, more := <-l.lines:
			if !more {
				err := <-l.failed
				l.failed <- err
				if l.terminal {
					s.Output.write(s.Output.Notes, "\n")
				}
				if err == io.EOF && text != "" {
					return text, nil // the end of the file closes what is open
				}
				return "", err
			}
			if text += line; !open(text) {
				return text, nil
			}
			text, prompt = text+"\n", promptNext
		case <-l.interrupts:
			s.Output.write(s.Output.Notes, "\n")
			return "", ErrInterrupted
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// What stands before the first line of an input, and before those that follow.
const (
	promptFirst = "> "
	promptNext  = "  "
)
