package repl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"github.com/shammah/shammah-engine/engine/chat"
)

// talk feeds lines to a session without an editor, and gives all that came out.
func talk(t *testing.T, s *Session, lines ...string) (answers, notes string) {
	t.Helper()
	var out, problems bytes.Buffer
	in := NewLines(strings.NewReader(strings.Join(lines, "\n")), true, nil)
	defer in.Close()
	s.Input = in
	s.Output = &Output{Answers: &out, Notes: &problems}
	if err := s.Run(t.Context()); err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	return out.String(), problems.String()
}

func begun(b *answers) *Session {
	return New(Options{Backend: b, Conversation: chat.Conversation{System: "Be brief."}})
}

func TestCommands(t *testing.T) {
	busy := errors.New("there is no API key")
	for _, c := range []struct {
		name  string
		lines []string
		notes []string // parts of what is said beside the answers
		turns []string // of the conversation in the end
	}{
		{"help", []string{"/help"}, []string{"/help", "/model [NAME]", "/bye", `"""`}, nil},
		{"question mark", []string{"/?"}, []string{"/retry"}, nil},
		{"unknown", []string{"/shwo"}, []string{"✗ there is no /shwo (did you mean show?)"}, nil},
		{"unlike any", []string{"/zzz"}, []string{"✗ there is no /zzz; /help"}, nil},
		{"path", []string{"/etc/passwd: what is it?"}, nil, []string{"/etc/passwd: what is it?", "You said: /etc/passwd: what is it?"}},
		{"space before the slash", []string{" /help"}, nil, []string{" /help", "You said:  /help"}},
		{"words after a command that has none", []string{"/undo it"}, []string{`✗ /undo takes nothing after it, found "it"`}, nil},
		{"system shown", []string{"/system"}, []string{"Be brief."}, nil},
		{"system set", []string{"/system Be kind.", "/show system"}, []string{"from now on", "Be kind."}, nil},
		{"system of several lines", []string{`/system """Be`, `kind."""`, "/show system"}, []string{"Be\nkind."}, nil},
		{"system taken back", []string{`/system ""`, "/system"}, []string{"the model is told nothing"}, nil},
		{"show nothing", []string{"/show"}, []string{"system: Be brief."}, nil},
		{"show what was said", []string{"Hi", "/show"}, []string{"> Hi\nYou said: Hi\n"}, []string{"Hi", "You said: Hi"}},
		{"show something else", []string{"/show me"}, []string{`✗ /show: found "me", expected settings`}, nil},
		{"model shown", []string{"/model"}, []string{"model  scripted"}, nil},
		{"clear", []string{"Hi", "/clear", "/show"}, []string{"forgotten", "system: Be brief."}, nil},
		{"undo", []string{"Hi", "Ho", "/undo"}, []string{"took back: Ho"}, []string{"Hi", "You said: Hi"}},
		{"undo nothing", []string{"/undo"}, []string{"✗ /undo: nothing was asked yet"}, nil},
		{"retry", []string{"Hi", "/retry"}, nil, []string{"Hi", "You said: Hi"}},
		{"retry nothing", []string{"/retry"}, []string{"✗ /retry: nothing was asked yet"}, nil},
		{"stats before", []string{"/stats"}, []string{"none yet", "0 tokens in"}, nil},
		{"stats", []string{"Hi", "Ho", "/stats"}, []string{"by tiny", "10 in, 5 out; ended by stop", "20.0 tokens a second, the first after 30 ms", "3 of 8 guesses right", "15 of 512", "20 tokens in, 10 out"},
			[]string{"Hi", "You said: Hi", "Ho", "You said: Ho"}},
		{"settings", []string{"/set"}, []string{"temperature", "default", "max_tokens"}, nil},
		{"unknown setting", []string{"/set temperatur 1"}, []string{`✗ /set: there is no "temperatur" (did you mean temperature?)`}, nil},
		{"no value", []string{"/set top_k"}, []string{"✗ /set top_k: there is no value"}, nil},
		{"no number", []string{"/set top_k many"}, []string{`✗ /set top_k: found "many", expected a whole number`}, nil},
		{"out of range", []string{"/set top_p 2"}, []string{"✗ /set: sample: check the parameters: top_p is 2"}, nil},
		{"not a number at all", []string{"/set temperature NaN"}, []string{"temperature is NaN"}, nil},
		{"no tokens", []string{"/set max_tokens 0"}, []string{"expected a positive number"}, nil},
		{"bye", []string{"/bye", "Hi"}, nil, nil},
		{"exit", []string{"/exit", "Hi"}, nil, nil},
		{"empty lines", []string{"", "  ", "Hi"}, nil, []string{"Hi", "You said: Hi"}},
		{"several lines", []string{`"""`, "a", "", `b`, `"""`}, nil, []string{"a\n\nb", "You said: a\n\nb"}},
		{"the end closes what is open", []string{`"""a`, "b"}, nil, []string{"a\nb", "You said: a\nb"}},
		{"quotes in one line", []string{`"""a"""`}, nil, []string{"a", "You said: a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begun(&answers{refuses: busy})
			_, notes := talk(t, s, c.lines...)
			for _, want := range c.notes {
				if !strings.Contains(notes, want) {
					t.Errorf("said\n%s\nwithout %q", notes, want)
				}
			}
			var turns []string
			for _, m := range s.Conversation.Turns {
				turns = append(turns, m.Content)
			}
			if !slices.Equal(turns, c.turns) {
				t.Errorf("the conversation is %q, want %q", turns, c.turns)
			}
		})
	}
}

func TestModesAndModels(t *testing.T) {
	b := &answers{}
	_, notes := talk(t, begun(b), "/local", "/model qwen-1.5b")
	if b.mode != "local" || !slices.Equal(b.used, []string{"qwen-1.5b"}) || !strings.Contains(notes, "answers: local") {
		t.Errorf("mode %q, models %q, said %q", b.mode, b.used, notes)
	}
	b = &answers{refuses: errors.New("there is no API key")}
	if _, notes := talk(t, begun(b), "/claude"); b.mode != "" || !strings.Contains(notes, "✗ there is no API key") {
		t.Errorf("mode %q, said %q", b.mode, notes)
	}
}

func TestSettingsReachTheBackend(t *testing.T) {
	b := &answers{}
	talk(t, begun(b), "/set temperature 0.5", "/set top_k 3", "/set seed 18446744073709551615", "/set max_tokens 9", "/set stop the end",
		"/set min_p 0.1", "/set min_p default", "/set top_p 7", "Hi")
	g := b.asked[0].Settings
	if *g.Temperature != 0.5 || *g.TopK != 3 || *g.Seed != 1<<64-1 || g.MaxTokens != 9 || !slices.Equal(g.Stop, []string{"the end"}) || g.MinP != nil || g.TopP != nil {
		t.Errorf("the settings are %+v", g)
	}
	if got := b.asked[0].Messages; len(got) != 2 || got[0].Role != chat.System || got[1].Content != "Hi" {
		t.Errorf("asked %v", got)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "talk.json")
	one := begun(&answers{})
	_, notes := talk(t, one, "Hi <b>", `"""a`, `b"""`, "/save "+path)
	if !strings.Contains(notes, "4 messages are in "+path) {
		t.Errorf("said %q", notes)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info, err)
	}
	two := New(Options{Backend: &answers{}})
	talk(t, two, "something else", "/load "+path)
	if two.Conversation.System != "Be brief." || !slices.Equal(two.Conversation.Turns, one.Conversation.Turns) {
		t.Errorf("loaded %v, want %v", two.Conversation, one.Conversation)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left, want one", len(files))
	}
}

// What was said is kept after each answer, stopped or whole; why it cannot be is told once.
func TestKeptAfterEachAnswer(t *testing.T) {
	b := &answers{}
	talk(t, begun(b), "one", "two", "/undo", "three")
	if len(b.kept) != 3 || len(b.kept[0].Turns) != 2 || len(b.kept[1].Turns) != 4 || len(b.kept[2].Turns) != 4 || b.kept[2].Turns[2].Content != "three" {
		t.Errorf("kept %+v, want three conversations of 2, 4 and 4 messages", b.kept)
	}
	b = &answers{unkept: errors.New("session: write notes: no space left on device")}
	if _, notes := talk(t, begun(b), "one", "two"); strings.Count(notes, "no space left") != 1 || len(b.kept) != 2 {
		t.Errorf("kept %d times, said %q; want two, and one line", len(b.kept), notes)
	}
}

// fails is an answer that never begins.
func fails(context.Context, Question) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { yield(Event{}, errors.New("no memory")) }
}

// /retry is about the last question, and takes an answer away only for another one.
func TestRetryLosesNothing(t *testing.T) {
	b := &answers{}
	s := begun(b)
	talk(t, s, "Hi", "Ho")
	want := s.Conversation.Clone()
	b.events = fails
	for range 2 {
		_, notes := talk(t, s, "/retry")
		if !strings.Contains(notes, "✗ no memory") || !slices.Equal(s.Conversation.Turns, want.Turns) {
			t.Errorf("a retry without an answer: said %q, the conversation is %v, want %v", notes, s.Conversation.Turns, want.Turns)
		}
	}
	talk(t, s, "He")
	b.events = nil
	talk(t, s, "/retry")
	if turns := s.Conversation.Turns; len(turns) != 6 || turns[4].Content != "He" {
		t.Errorf("the question that had no answer was not asked again: %v", turns)
	}
	b.events = fails
	talk(t, s, "Hu")
	b.events = nil
	talk(t, s, "Ha", "/retry")
	if turns := s.Conversation.Turns; len(turns) != 8 || turns[6].Content != "Ha" {
		t.Errorf("after a question with an answer another was asked again: %v", turns)
	}
	b.events = fails
	talk(t, s, "Hu")
	if _, notes := talk(t, s, "/clear", "/retry"); !strings.Contains(notes, "nothing was asked yet") {
		t.Errorf("what was forgotten was asked again: said %q", notes)
	}
}

// What was computed is a matter of the backend: where it cannot be kept or taken up, the conversation is, and a line says so.
func TestSaveAndLoadWithACache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "talk.session")
	b := &answers{cache: func(io.Writer) error { return errors.New("no space left") }}
	_, notes := talk(t, begun(b), "Hi", "/save "+path, "/clear", "/load "+path)
	if !strings.Contains(notes, "2 messages are in "+path) || !strings.Contains(notes, "only what was said is kept") || strings.Contains(notes, "✗") {
		t.Errorf("said %q", notes)
	}
	b.refuses = errors.New("it was saved with another model")
	two := begun(b)
	_, notes = talk(t, two, "/load "+path)
	if !slices.Equal(b.restored, []string{path, path}) || !strings.Contains(notes, "2 messages from "+path) || !strings.Contains(notes, "another model") || len(two.Conversation.Turns) != 2 {
		t.Errorf("restored %q, said %q", b.restored, notes)
	}
	_, notes = talk(t, begun(b), "/save "+path, "/load "+path)
	if !strings.Contains(notes, "0 messages from "+path) {
		t.Errorf("an empty conversation: said %q", notes)
	}
}

// A file that cannot be used is one line, and changes nothing.
func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ data, want string }{
		"not JSON":      {"hello", "not a conversation"},
		"empty":         {"", "not a conversation"},
		"other JSON":    {`{"a":1}`, `"turns"`},
		"a list":        {`[]`, "not a conversation"},
		"wrong order":   {`{"turns":[{"role":"assistant","content":"a"}]}`, `message 1 is of "assistant", expected "user"`},
		"no answer":     {`{"turns":[{"role":"user","content":"a"}]}`, "no answer"},
		"unknown role":  {`{"turns":[{"role":"user","content":"a"},{"role":"tool","content":"b"}]}`, `of "tool"`},
		"wrong content": {`{"turns":[{"role":"user","content":7}]}`, "not a conversation"},
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		s := begun(&answers{})
		_, notes := talk(t, s, "Hi", "/load "+path)
		if !strings.Contains(notes, "✗ /load") || !strings.Contains(notes, c.want) || len(s.Conversation.Turns) != 2 {
			t.Errorf("%s: said %q, want %q; %d turns", name, notes, c.want, len(s.Conversation.Turns))
		}
	}
	if _, notes := talk(t, begun(&answers{}), "/load "+filepath.Join(dir, "none"), "/load", "/save", "/save "+filepath.Join(dir, "no", "folder")); strings.Count(notes, "✗") != 4 {
		t.Errorf("said %q, want four failures", notes)
	}
}

// What matters least leaves a status line that is too long; nothing is wider than the terminal.
func TestStatusLine(t *testing.T) {
	b := &answers{status: Status{Model: "Qwen2.5-1.5B-Instruct", Provider: "CPU", Mode: "local", Context: 4096, Used: 1_600_000_000, Free: 5_100_000_000}}
	s := begun(b)
	s.count(&Done{By: "Qwen", Prompt: 1234, Generated: 567, Rate: 31.25, Context: 4096})
	for width, want := range map[int]string{
		140: "Qwen2.5-1.5B-Instruct · CPU · local · 1234 in 567 out · 31.2 tok/s · context 1801/4096 · 1.6 GB used 5.1 GB free",
		90:  "Qwen2.5-1.5B-Instruct · CPU · local · 1234 in 567 out · 31.2/s · ctx 43%",
		79:  "Qwen2.5-1.5B-Instruct · CPU · local · 1234 in 567 out · 31.2/s · ctx 43%",
		60:  "Qwen2.5-1.5B-Instruct · CPU · 1234 in 567 out · 31.2/s",
		40:  "Qwen2.5-1.5B-Instruct · 31.2/s",
		10:  "Qwen2.5-1…",
	} {
		if got := s.status(width); got != want {
			t.Errorf("%d columns:\ngot  %q\nwant %q", width, got, want)
		}
	}
	s.count(&Done{By: "Qwen", Prompt: 10, Reused: 7})
	if got := strings.Join(s.figures(), "\n"); !strings.Contains(got, "10 in (7 computed before), 0 out") {
		t.Errorf("the figures are\n%s\nwithout what was computed before", got)
	}
	s.in -= 10
	s.count(&Done{By: "claude-x", Why: "the mode is claude", Prompt: 1, Generated: 1})
	if got, want := s.status(90), "Qwen2.5-1.5B-Instruct · CPU · local · 1235 in 568 out · by claude-x · 1.6 GB, 5.1 free"; got != want {
		t.Errorf("after Claude's answer: got %q, want %q", got, want)
	}
	b.status = Status{Model: "Qwen", State: "could not be loaded: no\nmemory\x1b[2J"}
	if got := New(Options{Backend: b}).status(79); got != "Qwen could not be loaded: no memory[2J" {
		t.Errorf("a failure became %q", got)
	}
	for width := 1; width < 150; width++ {
		if got := s.status(width); uniseg.StringWidth(got) > width {
			t.Errorf("%q has more than %d columns", got, width)
		}
	}
}

// Without an editor: prompts and notes beside the answers, the status line when it changes, no control sequences.
func TestLines(t *testing.T) {
	b := &answers{status: Status{Model: "tiny", Provider: "CPU"}}
	out, notes := talk(t, begun(b), "Hi")
	if out != "You said: Hi\n" {
		t.Errorf("answered %q", out)
	}
	if want := "tiny · CPU\n> tiny · CPU · 10 in 5 out · 20.0 tok/s\n> \n"; notes != want {
		t.Errorf("beside it\n%q, want\n%q", notes, want)
	}
}

// A script has nobody who could try again: its first failure ends it.
func TestFailureInAScript(t *testing.T) {
	broken := errors.New("broken")
	b := &answers{events: func(context.Context, Question) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) { yield(Event{}, broken) }
	}}
	var out bytes.Buffer
	s := New(Options{Backend: b, Input: NewLines(strings.NewReader("Hi\nHo\n"), false, nil), Output: &Output{Answers: &out, Notes: io.Discard}})
	err := s.Run(t.Context())
	s.Input.(*Lines).Close()
	if !errors.Is(err, broken) || len(b.asked) != 1 || out.Len() > 0 {
		t.Errorf("got %v after %d questions and %q", err, len(b.asked), out.String())
	}
}

// A terminal that only shows lines is told once what is waited for, and again when that changes.
func TestProgressWithoutControlSequences(t *testing.T) {
	var notes strings.Builder
	o := &Output{Answers: io.Discard, Notes: &notes}
	for _, text := range []string{"Qwen is being downloaded (1%)", "Qwen is being downloaded (2%)", "", "Qwen is being loaded", ""} {
		o.Progress(text)
	}
	if want := "Qwen is being downloaded (1%)\nQwen is being loaded\n"; notes.String() != want {
		t.Errorf("got %q, want %q", notes.String(), want)
	}
}

func TestColor(t *testing.T) {
	var plain, colored strings.Builder
	(&Output{Notes: &plain}).Note("note")
	(&Output{Notes: &colored, Color: true}).Note("note")
	if plain.String() != "note\n" || colored.String() != "\x1b[2mnote\x1b[0m\n" {
		t.Errorf("got %q and %q", plain.String(), colored.String())
	}
}

func TestOpenWithoutATerminal(t *testing.T) {
	var out, problems bytes.Buffer
	in, output, closeIt, err := Open(strings.NewReader("Hi\n"), &out, &problems, func(string) string { return "xterm" })
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt()
	if err := New(Options{Backend: &answers{}, Input: in, Output: output}).Run(t.Context()); err != nil || out.String() != "You said: Hi\n" || problems.Len() > 0 {
		t.Errorf("got %v, %q, %q", err, out.String(), problems.String())
	}
}

// A history that cannot be kept is told once, and nobody tries again.
func TestHistoryThatCannotBeKept(t *testing.T) {
	s := begun(&answers{})
	s.History = &History{path: t.TempDir()}
	if _, notes := talk(t, s, "one", "two", "three"); strings.Count(notes, "the history is not kept: ") != 1 || len(s.History.entries) != 3 {
		t.Errorf("said %q, %d entries; want one line and three", notes, len(s.History.entries))
	}
}

func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	entries := []string{"plain", `"quoted"`, "`raw`", "'c'", "two\nlines", `back\slash`, "世界", `"""a` + "\n" + `b"""`}
	for _, e := range append(entries, entries[len(entries)-1]) {
		if err := h.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if h, err = OpenHistory(path); err != nil || !slices.Equal(h.entries, entries) {
		t.Errorf("read %q, %v; want %q", h.entries, err, entries)
	}
	long := strings.Repeat("a\nb\n", historyMax+1)
	if err := os.WriteFile(path, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err = OpenHistory(path); err != nil || len(h.entries) != historyMax {
		t.Errorf("%d entries, %v; want %d", len(h.entries), err, historyMax)
	}
	if data, _ := os.ReadFile(path); bytes.Count(data, []byte("\n")) != historyMax {
		t.Errorf("the file has %d lines, want %d", bytes.Count(data, []byte("\n")), historyMax)
	}
	if _, err := OpenHistory(t.TempDir()); err == nil {
		t.Error("a folder was read as a history")
	}
}
