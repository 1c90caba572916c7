package repl

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/shammah/shammah-engine/engine/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuestionAndAnswer(t *testing.T) {
	play(t, &answers{}, nil, func(s *scene) {
		s.shows(`
> █
tiny · CPU · context 0/512`)
		s.typing("Hello")
		s.shows(`
> Hello█
tiny · CPU · context 0/512`)
		s.typing("\r")
		s.shows(`
> Hello
You said: Hello
> █
tiny · CPU · 10 in 5 out · 20.0/s`)
		s.typing("\x04")
		s.shows(`
> Hello
You said: Hello
>
█`)
	})
}

func TestCtrlCStopsAndKeeps(t *testing.T) {
	b := &answers{events: begins("Once upon")}
	play(t, b, ErrInterrupted, func(s *scene) {
		s.typing("A story", "\r")
		s.shows(`
> A story
Once upon█`)
		s.typing("\x03")
		s.shows(`
> A story
Once upon
(stopped)
> █
tiny · CPU · context 0/512`)
		want := []chat.Message{{Role: chat.User, Content: "A story"}, {Role: chat.Assistant, Content: "Once upon"}}
		if got := s.session.Conversation.Turns; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("kept %v, want %v", got, want)
		}
		s.typing("\x03") // the second one leaves
	})
}

func TestCtrlCAtThePrompt(t *testing.T) {
	play(t, &answers{}, ErrInterrupted, func(s *scene) {
		s.typing("never mi", "\x03")
		s.shows(`
> never mi
> █
tiny · CPU · context 0/512`)
		s.typing("\x03")
		s.shows(`
> never mi
>
Ctrl-C again leaves, as does Ctrl-D
> █
tiny · CPU · context 0/512`)
		s.typing("Hi", "\r", "\x03") // not the second time in a row
		if got := s.vt.text(); !strings.Contains(got, "You said: Hi") || strings.Count(got, "Ctrl-C again leaves") != 2 {
			t.Errorf("the terminal shows\n%s", got)
		}
		s.typing("\x03")
	})
}

// A backend that does not stop must not hold the user. An answer that was to be replaced is not lost by it.
func TestSecondCtrlCAborts(t *testing.T) {
	for _, input := range []string{"Hi", "/retry"} {
		var release chan struct{}
		b := &answers{events: func(context.Context, Question) iter.Seq2[Event, error] {
			return func(yield func(Event, error) bool) {
				yield(Event{Text: "deaf"}, nil)
				<-release
			}
		}}
		play(t, b, nil, func(s *scene) {
			release = make(chan struct{})
			s.session.Conversation.Ask("before")
			s.session.Conversation.Answer("then")
			s.typing(input, "\r", "\x03")
			if len(s.aborted) != 0 {
				t.Errorf("%s: the first Ctrl-C ended the process", input)
			}
			s.typing("\x03")
			if len(s.aborted) != 1 || len(s.aborted[0].Turns) != 2 || s.aborted[0].Turns[1].Content != "then" {
				t.Errorf("%s: aborted with %v after the second Ctrl-C, want once with what was said before", input, s.aborted)
			}
			close(release)
			s.typing("\x04")
		})
	}
}

func TestWhatIsTypedDuringAnAnswerIsKept(t *testing.T) {
	var next chan struct{}
	b := &answers{}
	play(t, b, nil, func(s *scene) {
		next = make(chan struct{})
		b.events = func(_ context.Context, q Question) iter.Seq2[Event, error] {
			<-next
			return say("ok")
		}
		s.typing("one", "\r", "two", "\r", "thr")
		next <- struct{}{}
		synctest.Wait()
		next <- struct{}{}
		synctest.Wait()
		s.shows(`
> one
ok
> two
ok
> thr█
tiny · CPU · 20 in 10 out · 20.0/s`)
		s.typing("\x15", "\x04")
	})
}

func TestSeveralLines(t *testing.T) {
	b := &answers{}
	play(t, b, nil, func(s *scene) {
		s.typing(`"""one`, "\r", "two", "\r")
		s.shows(`
> """one
  two
  █
tiny · CPU · context 0/512`)
		s.typing(`"""`, "\r")
		if got := b.asked[0].Messages[0].Content; got != "one\ntwo" {
			t.Errorf("asked %q", got)
		}
		s.typing(pasteBegins + "func f() {\r\n\treturn\r}" + pasteEnds)
		s.typing("\r")
		if got := b.asked[1].Messages[2].Content; got != "func f() {\n\treturn\n}" {
			t.Errorf("a pasted text became %q", got)
		}
		s.typing("a", "\x1b\r", "b", "\r")
		if got := b.asked[2].Messages[4].Content; got != "a\nb" {
			t.Errorf("Alt-Enter gave %q", got)
		}
		s.typing("\x04")
	})
}

// What happens in the background appears above what is being typed, which stays as it is.
func TestNoticesWhileTyping(t *testing.T) {
	b := &answers{status: Status{Model: "Qwen", State: "is being loaded"}}
	play(t, b, nil, func(s *scene) {
		s.typing("Hel")
		s.shows(`
> Hel█
Qwen is being loaded`)
		b.set(Status{Model: "Qwen", Provider: "CPU", Context: 4096})
		s.session.Notices.Add("✓ Model ready for inference")
		synctest.Wait()
		s.typing("lo")
		s.shows(`
✓ Model ready for inference
> Hello█
Qwen · CPU · context 0/4096`)
		s.typing("\x03", "\x04")
	})
}

func TestStatusLineFollowsTheDownload(t *testing.T) {
	b := &answers{status: Status{Model: "Qwen", State: "is being downloaded (4%)"}}
	play(t, b, nil, func(s *scene) {
		b.set(Status{Model: "Qwen", State: "is being downloaded (5%)"})
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		s.shows(`
> █
Qwen is being downloaded (5%)`)
		s.typing("\x04")
	})
}

func TestWaitingShowsProgressInOneLine(t *testing.T) {
	var step chan struct{}
	b := &answers{}
	play(t, b, nil, func(s *scene) {
		step = make(chan struct{})
		b.events = func(context.Context, Question) iter.Seq2[Event, error] {
			return func(yield func(Event, error) bool) {
				for _, e := range []Event{{Waiting: "⏳ Qwen is being downloaded (10%)"}, {Waiting: "⏳ Qwen is being downloaded (20%)"}, {Text: "Hello"}} {
					if !yield(e, nil) {
						return
					}
					<-step
				}
			}
		}
		s.typing("Hi", "\r")
		s.shows("> Hi\n⏳ Qwen is being downloaded (10%)█")
		step <- struct{}{}
		synctest.Wait()
		s.shows("> Hi\n⏳ Qwen is being downloaded (20%)█")
		step <- struct{}{}
		synctest.Wait()
		s.shows("> Hi\nHello█")
		step <- struct{}{}
		synctest.Wait()
		s.typing("\x04")
	})
}

func TestCtrlCGivesUpWaiting(t *testing.T) {
	b := &answers{events: func(ctx context.Context, _ Question) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			yield(Event{Waiting: "⏳ loading"}, nil)
			<-ctx.Done()
			yield(Event{}, ctx.Err())
		}
	}}
	play(t, b, nil, func(s *scene) {
		s.typing("Hi", "\r", "\x03")
		s.shows(`
> Hi
(stopped; nothing was said)
> █
tiny · CPU · context 0/512`)
		if n := len(s.session.Conversation.Turns); n != 0 {
			t.Errorf("%d messages are left of a question without an answer", n)
		}
		s.typing("\x04")
	})
}

// A failed answer is a line with a mark, never a message of the conversation; /retry asks again.
func TestFailures(t *testing.T) {
	b := &answers{}
	play(t, b, nil, func(s *scene) {
		b.events = func(context.Context, Question) iter.Seq2[Event, error] {
			return func(yield func(Event, error) bool) { yield(Event{}, errors.New("no\nmodel")) }
		}
		s.typing("Hi", "\r")
		s.shows(`
> Hi
✗ no model
> █
tiny · CPU · context 0/512`)
		b.events = nil
		s.typing("/retry", "\r")
		if turns := s.session.Conversation.Turns; len(turns) != 2 || turns[1].Content != "You said: Hi" {
			t.Errorf("after /retry the conversation is %v", turns)
		}
		b.events = func(context.Context, Question) iter.Seq2[Event, error] {
			return func(yield func(Event, error) bool) {
				_ = yield(Event{Text: "half"}, nil) && yield(Event{}, errors.New("cut"))
			}
		}
		s.typing("/clear", "\r", "More", "\r")
		if got := s.vt.text(); !strings.Contains(got, "half\n✗ the answer broke off: cut\n") {
			t.Errorf("the terminal shows\n%s", got)
		}
		if turns := s.session.Conversation.Turns; len(turns) != 2 || turns[1].Content != "half" {
			t.Errorf("the conversation is %v", turns)
		}
		s.typing("\x04")
	})
}

// What a model writes cannot command the terminal.
func TestControlCharactersOfAnAnswer(t *testing.T) {
	b := &answers{events: func(context.Context, Question) iter.Seq2[Event, error] {
		return say("a\x1b]0;title\a\x1b[", "2Jb\u009bc\r\n")
	}}
	play(t, b, nil, func(s *scene) {
		s.typing("Hi", "\r")
		s.shows(`
> Hi
a]0;title[2Jbc
> █
tiny · CPU · 10 in 5 out · 20.0/s`)
		s.typing("\x04")
	})
}

func TestCompletion(t *testing.T) {
	play(t, &answers{}, nil, func(s *scene) {
		s.typing("/sh", "\t")
		s.shows("> /show █\ntiny · CPU · context 0/512")
		s.typing("\x15", "/s", "\t")
		s.shows(`
/system  /set  /show  /save  /stats
> /s█
tiny · CPU · context 0/512`)
		s.typing("\x15", "/model q", "\t")
		s.shows(`
/system  /set  /show  /save  /stats
> /model qwen-█
tiny · CPU · context 0/512`)
		s.typing("0", "\t", "\r")
		if len(s.backend.used) != 1 || s.backend.used[0] != "qwen-0.5b" {
			t.Errorf("used %q", s.backend.used)
		}
		s.typing("\x04")
	})
}

func TestHistoryIsKeptBetweenRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "history")
	for run, script := range []func(s *scene){
		func(s *scene) {
			s.typing("first", "\r", "first", "\r", `"""a`, "\r", `b"""`, "\r")
		},
		func(s *scene) {
			s.typing("dra", "\x1b[A")
			s.shows("> \"\"\"a\n  b\"\"\"█\ntiny · CPU · context 0/512")
			s.typing("\x1b[A", "\x1b[A") // to the line above, and then further back
			s.shows("> first█\ntiny · CPU · context 0/512")
			s.typing("\x1b[A", "\x1b[B", "\x1b[B", "\x1b[B")
			s.shows("> dra█\ntiny · CPU · context 0/512")
			s.typing("\x15")
		},
	} {
		play(t, &answers{}, nil, func(s *scene) {
			h, err := OpenHistory(path)
			if err != nil {
				t.Fatal(err)
			}
			*s.session.History = *h
			s.typing("\x0c") // the next input sees it
			s.typing(" ", "\r")
			s.vt.cells, s.vt.row, s.vt.column = [][]string{{}}, 0, 0
			s.typing("\x0c")
			script(s)
			s.typing("\x04")
		})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("run %d: the file is %v, %v; want mode 0600", run, info, err)
		}
	}
}

// Rows break before the last column, and a wide character takes two.
func TestLongAndWide(t *testing.T) {
	play(t, &answers{}, nil, func(s *scene) {
		s.typing(strings.Repeat("x", 50))
		s.shows(`
> xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
xxxxxxxxxxxxx█
tiny · CPU · context 0/512`)
		s.typing("\x01", "世界")
		s.shows(`
> 世界█xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
xxxxxxxxxxxxxxxxx
tiny · CPU · context 0/512`)
		s.typing("\x1b[D", "\x7f")
		s.shows(`
> █界xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
xxxxxxxxxxxxxxx
tiny · CPU · context 0/512`)
		s.typing("\x05", "\x15", "\x04")
	})
}

// Of a text that is higher than the terminal, the part around the cursor is shown.
func TestHigherThanTheTerminal(t *testing.T) {
	play(t, &answers{}, nil, func(s *scene) {
		s.typing(pasteBegins + strings.Repeat("line\n", 30) + "end" + pasteEnds)
		rows := strings.Split(s.vt.text(), "\n")
		if len(rows) != 12 || rows[10] != "  end█" || rows[0] != "  line" {
			t.Errorf("%d rows:\n%s", len(rows), s.vt.text())
		}
		s.typing("\r")
		if got := s.backend.asked[0].Messages[0].Content; strings.Count(got, "\n") != 30 {
			t.Errorf("asked %q", got)
		}
		s.typing("\x04")
	})
}

func TestTheContextEnds(t *testing.T) {
	play(t, &answers{}, context.Canceled, func(s *scene) { s.typing("half a thou") })
	play(t, &answers{events: begins("text")}, context.Canceled, func(s *scene) { s.typing("Hi", "\r") })
}

func TestTheTerminalGoesAway(t *testing.T) {
	gone := errors.New("input/output error")
	play(t, &answers{}, gone, func(s *scene) { s.screen.End(gone) })
}

// Ctrl-Z stops the process; what was typed is there again afterwards.
func TestSuspend(t *testing.T) {
	play(t, &answers{}, nil, func(s *scene) {
		stopped := ""
		s.screen.Suspend = func() { stopped = s.vt.text() }
		s.typing("Hel", "\x1a", "lo")
		if stopped != "█" {
			t.Errorf("stopped with %q on the terminal, want nothing", stopped)
		}
		s.shows("> Hello█\ntiny · CPU · context 0/512")
		s.typing("\x15", "\x04")
	})
}
