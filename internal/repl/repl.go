// Package repl is a conversation on a terminal: what is typed, the commands in it, the answers as they come, and the line that says how
// things stand. It knows neither models nor services; who answers is behind Backend. What is typed comes through an Input, so that
// everything but the terminal itself is tested without one.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/internal/config"
)

// ErrInterrupted says that the user left with Ctrl-C.
var ErrInterrupted = errors.New("repl: interrupted")

// Backend is who answers. Its methods are called from one goroutine.
type Backend interface {
	// Answer continues a conversation whose last message is the user's. It ends soon after ctx does.
	Answer(ctx context.Context, q Question) iter.Seq2[Event, error]
	// Status says how things stand. It is asked often and must not wait.
	Status() Status
	// Use brings another model to life in the background, instead of the one that is there.
	Use(model string) error
	// Models are names that Use knows, for completion.
	Models() []string
	// SetMode says who is to answer: auto, local or claude.
	SetMode(mode string) error
	// Adapt uses these adapters, each a name or name:scale, from the next answer on; none is the model as it is.
	Adapt(adapters []string) error
	// Adapters are those in use, and the names that Adapt knows.
	Adapters() (used, known []string)
	// Describe is lines about the model of this machine.
	Describe() []string
	// Save writes a conversation to a file, with what was computed for it. A session.ErrCache says that the latter was left out.
	Save(path string, c chat.Conversation) error
	// Keep is told what was said after each answer, to keep it in case that the program does not live to end the conversation.
	Keep(c chat.Conversation) error
	// Restore takes up what was computed for the conversation in a file, or says why it will be computed again.
	Restore(path string) error
}

// Question is what an answer is asked for.
type Question struct {
	Messages []chat.Message
	Settings config.Generation // what the user set; the rest is the model's own
}

// Event is a step on the way to an answer. One of its fields is set.
type Event struct {
	Waiting string // the answer cannot begin yet, and why
	Note    string // to be told beside the answer
	Text    string // what can be shown now
	Done    *Done  // the last event of an answer that was not stopped
}

// Done is what an answer took.
type Done struct {
	By        string  // who gave it
	Why       string  // why not another one, "" when there was no choice
	Prompt    int     // tokens
	Reused    int     // tokens of the prompt that were computed before
	Generated int     // tokens
	Rate      float64 // tokens in a second, 0 unknown
	FirstMS   float64 // to the first token
	Proposed  int     // tokens that were guessed
	Accepted  int     // guesses that were right
	Finish    string
	Context   int // tokens that the context holds, 0 for a service
}

// Options is how a conversation is held.
type Options struct {
	Input        Input
	Output       *Output
	Backend      Backend
	Conversation chat.Conversation
	Settings     config.Generation
	History      *History
	Feedback     *Feedback // nil keeps none
	Notices      *Notices
	NoStatus     bool // no status line

	// Abort is called on a second Ctrl-C while an answer is being stopped, with what was said before it: it is to end the process.
	Abort func(said chat.Conversation)
}

// Session is one conversation. It is not safe for concurrent use.
type Session struct {
	Options
	unkept     string // why the conversation is not kept, as it was told last
	unanswered string // what was asked last and got no answer
	by         string // who gave the last answer, "" if that is not known
	verdict    string // what was said of the last answer
	last       *Done
	in, out    int  // tokens of all answers
	used       int  // tokens of the context after the last answer of a model with one
	leaving    bool // the next Ctrl-C leaves
}

// New makes a session.
func New(o Options) *Session {
	if o.Notices == nil {
		o.Notices = NewNotices()
	}
	if o.History == nil {
		o.History = &History{}
	}
	return &Session{Options: o}
}

// errBye ends the conversation.
var errBye = errors.New("repl: bye")

// Run holds the conversation until the user leaves: nil for Ctrl-D and /bye, ErrInterrupted for Ctrl-C, the cause when ctx ends.
func (s *Session) Run(ctx context.Context) error {
	for {
		text, err := s.Input.Read(ctx, s)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, ErrInterrupted) && !s.leaving:
			s.leaving = true
			s.Output.Note("Ctrl-C again leaves, as does Ctrl-D")
			continue
		case err != nil:
			return err
		}
		s.leaving = false
		if strings.TrimSpace(text) == "" {
			continue
		}
		if err := s.History.Add(text); err != nil {
			s.Output.Note("the history is not kept: " + line(err))
			s.History.path = ""
		}
		err = s.Handle(ctx, text)
		switch {
		case err == errBye:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !s.Input.Interactive():
			return err
		case err != nil:
			s.Output.Problem(line(err))
		}
	}
}

// Handle does what one input says: a command, or a question to be answered.
func (s *Session) Handle(ctx context.Context, text string) error {
	if name, rest, ok := splitCommand(text); ok {
		return s.command(ctx, name, rest)
	}
	return s.ask(ctx, message(text))
}

// message is the text of an input: what stands between """, or all of it.
func message(text string) string {
	inner, found := strings.CutPrefix(strings.TrimSpace(text), fence)
	if !found {
		return text
	}
	return strings.Trim(strings.TrimSuffix(inner, fence), "\n")
}

// fence opens and closes a text of several lines.
const fence = `"""`

// open says whether an input needs more lines.
func open(text string) bool {
	if _, rest, ok := splitCommand(text); ok {
		text = rest
	}
	inner, found := strings.CutPrefix(strings.TrimSpace(text), fence)
	return found && !strings.HasSuffix(inner, fence)
}

// ask puts a question to the backend and keeps what is answered, whole or stopped.
func (s *Session) ask(ctx context.Context, text string) error {
	return s.askInstead(ctx, text, s.Conversation.Clone())
}

// askInstead is ask of a conversation that was before more than it is now: without an answer it is that again.
func (s *Session) askInstead(ctx context.Context, text string, before chat.Conversation) error {
	s.Conversation.Ask(text)
	s.by, s.verdict = "", ""
	answer, stopped, err := s.answer(ctx, before)
	if answer == "" {
		s.Conversation = before // two questions in a row are no conversation
		s.unanswered = text
	} else {
		s.Conversation.Answer(answer)
		s.unanswered = ""
		s.keep()
	}
	switch {
	case stopped && answer == "":
		s.Output.Note("(stopped; nothing was said)")
	case stopped:
		s.Output.Note("(stopped)")
	case err != nil && answer != "":
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if stopped {
		s.leaving = true
		return nil
	}
	return err
}

// keep tells the backend what was said. What goes wrong is told once, not after every answer.
func (s *Session) keep() {
	err := s.Backend.Keep(s.Conversation)
	if err != nil && line(err) != s.unkept {
		s.Output.Note(line(err))
		s.unkept = line(err)
	}
}

// answer gets one answer and shows it as it comes. The first Ctrl-C stops it, a second one ends the process.
func (s *Session) answer(ctx context.Context, before chat.Conversation) (text string, stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished, interrupted := make(chan struct{}), make(chan bool, 1)
	go func() { interrupted <- s.watch(cancel, finished, before) }()
	text, err = s.stream(ctx)
	close(finished)
	return text, <-interrupted, err
}

// watch says whether a Ctrl-C came before the answer was finished.
func (s *Session) watch(stop func(), finished <-chan struct{}, before chat.Conversation) bool {
	select {
	case <-s.Input.Interrupts():
		stop()
	case <-finished:
		return false
	}
	select {
	case <-s.Input.Interrupts():
		s.Abort(before)
	case <-finished:
	}
	return true
}

func (s *Session) stream(ctx context.Context) (string, error) {
	var said strings.Builder
	var failure error
	for e, err := range s.Backend.Answer(ctx, Question{Messages: s.Conversation.Messages(), Settings: s.Settings}) {
		failure = err
		if said.Len() == 0 {
			s.tell()
		}
		s.Output.Progress(e.Waiting)
		switch {
		case e.Note != "":
			s.Output.Note(e.Note)
		case e.Done != nil:
			s.count(e.Done)
		}
		said.WriteString(e.Text)
		s.Output.Answer(e.Text)
	}
	s.Output.Progress("")
	s.Output.EndAnswer()
	return said.String(), failure
}

// tell shows what happened in the background.
func (s *Session) tell() {
	for _, notice := range s.Notices.take() {
		s.Output.Note(notice)
	}
}

func (s *Session) count(d *Done) {
	s.last, s.by = d, d.By
	s.in += d.Prompt
	s.out += d.Generated
	if d.Context > 0 {
		s.used = d.Prompt + d.Generated
	}
}

// line is an error as one line.
func line(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
