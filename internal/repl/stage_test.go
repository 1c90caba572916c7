package repl

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/internal/session"
)

// answers is a backend that says what a test wants.
type answers struct {
	events  func(ctx context.Context, q Question) iter.Seq2[Event, error]
	asked   []Question
	mu      sync.Mutex
	status  Status
	mode    string
	used    []string
	adapted []string
	refuses error

	cache    func(io.Writer) error // what Save keeps beside the conversation
	restored []string
	kept     []chat.Conversation // as Keep was told
	unkept   error
}

func (a *answers) Answer(ctx context.Context, q Question) iter.Seq2[Event, error] {
	a.asked = append(a.asked, q)
	if a.events == nil {
		return say("You said: ", q.Messages[len(q.Messages)-1].Content)
	}
	return a.events(ctx, q)
}

func (a *answers) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *answers) set(s Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = s
}

func (a *answers) Use(name string) error {
	a.used = append(a.used, name)
	return a.refuses
}
func (a *answers) Models() []string { return []string{"qwen-0.5b", "qwen-1.5b", "tiny"} }
func (a *answers) SetMode(name string) error {
	if a.refuses == nil {
		a.mode = name
	}
	return a.refuses
}
func (a *answers) Adapt(adapters []string) error {
	if a.refuses == nil {
		a.adapted = adapters
	}
	return a.refuses
}
func (a *answers) Adapters() (used, known []string) { return a.adapted, []string{"judge", "pirate"} }
func (a *answers) Describe() []string               { return []string{"model  scripted"} }

func (a *answers) Save(path string, c chat.Conversation) error {
	return session.Write(path, session.Talk{Conversation: c}, a.cache)
}

func (a *answers) Keep(c chat.Conversation) error {
	a.kept = append(a.kept, c.Clone())
	return a.unkept
}

func (a *answers) Restore(path string) error {
	a.restored = append(a.restored, path)
	return a.refuses
}

// say is an answer in pieces.
func say(pieces ...string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, p := range pieces {
			if !yield(Event{Text: p}, nil) {
				return
			}
		}
		yield(Event{Done: &Done{By: "tiny", Prompt: 10, Generated: 5, Rate: 20, FirstMS: 30, Proposed: 8, Accepted: 3, Finish: "stop", Context: 512}}, nil)
	}
}

// begins is an answer that begins and then goes on until it is stopped.
func begins(text string) func(context.Context, Question) iter.Seq2[Event, error] {
	return func(ctx context.Context, _ Question) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			if text != "" && !yield(Event{Text: text}, nil) {
				return
			}
			<-ctx.Done()
			yield(Event{}, ctx.Err())
		}
	}
}

// scene is a conversation on a scripted terminal.
type scene struct {
	t       *testing.T
	vt      *vt
	screen  *Screen
	session *Session
	backend *answers
	ended   chan error
	aborted []chat.Conversation
}

// play runs a scene in a bubble where time stands still, and checks that the conversation ends with want.
func play(t *testing.T, b *answers, want error, script func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if b.status.Model == "" {
			b.status = Status{Model: "tiny", Provider: "CPU", Context: 512}
		}
		s := &scene{t: t, vt: newVT(40, 12), backend: b, ended: make(chan error, 1)}
		s.screen = NewScreen(s.vt.size)
		out := &Output{Answers: s.vt, Notes: s.vt, Live: true, Width: func() int { return s.vt.width }}
		s.session = New(Options{Input: s.screen, Output: out, Backend: b, Abort: func(c chat.Conversation) { s.aborted = append(s.aborted, c) }})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { s.ended <- s.session.Run(ctx) }()
		synctest.Wait()
		script(s)
		if want == context.Canceled {
			cancel()
		}
		synctest.Wait()
		select {
		case err := <-s.ended:
			if !errors.Is(err, want) {
				t.Errorf("ended with %v, want %v", err, want)
			}
		default:
			t.Errorf("did not end, want %v; on the terminal:\n%s", want, s.vt.text())
			cancel()
			<-s.ended
		}
		if len(s.vt.unknown) > 0 {
			t.Errorf("control sequences that a plain terminal may not know: %q", s.vt.unknown)
		}
	})
}

// typing feeds what is typed, one key or paste at a time.
func (s *scene) typing(keys ...string) {
	for _, key := range keys {
		s.screen.Feed([]byte(key))
		synctest.Wait()
	}
}

// shows compares the whole terminal; █ is the cursor.
func (s *scene) shows(want string) {
	s.t.Helper()
	want = strings.Trim(want, "\n")
	if got := s.vt.text(); got != want {
		s.t.Errorf("the terminal shows\n%s\n--- want\n%s", got, want)
	}
}
