package repl

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/chat"
)

// kept reads the lines of a feedback file.
func kept(t *testing.T, path string) (lines []judged) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(data)) {
		var j judged
		if err := json.Unmarshal([]byte(l), &j); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, j)
	}
	return lines
}

func TestFeedback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "feedback.jsonl")
	s := begun(&answers{})
	s.Feedback = &Feedback{Path: path}
	_, notes := talk(t, s, "/good", "/correct it", "Hi", "/good", "/good", "/correct", "Who <are> you?", "/bad", `/correct """I am`, `Ünal \ "U"."""`, "/undo", "/bad", "/clear", "/bad")
	for _, want := range []string{"✗ /good: nothing was answered yet", "✗ /correct: nothing was answered yet", "noted: more like this · weight 3 in " + path, "that was said already",
		"✗ /correct: say after it", "nothing is learned from it alone", "noted: this instead · weight 10", "✗ /bad: nothing was answered yet"} {
		if !strings.Contains(notes, want) {
			t.Errorf("said\n%s\nwithout %q", notes, want)
		}
	}
	zero := 0
	user := func(text string) weighed { return weighed{Message: chat.Message{Role: chat.User, Content: text}} }
	said := func(text string, weight *int) weighed {
		return weighed{chat.Message{Role: chat.Assistant, Content: text}, weight}
	}
	system := weighed{Message: chat.Message{Role: chat.System, Content: "Be brief."}}
	answer := "You said: Who <are> you?"
	before := []weighed{system, user("Hi"), said("You said: Hi", &zero), user("Who <are> you?")}
	want := []judged{
		{Messages: []weighed{system, user("Hi"), said("You said: Hi", nil)}, Weight: 3, Verdict: "good", By: "tiny"},
		{Messages: append(before[:4:4], said(answer, nil)), Weight: 0, Verdict: "bad", By: "tiny"},
		{Messages: append(before[:4:4], said("I am\nÜnal \\ \"U\".", nil)), Weight: 10, Verdict: "correct", Answer: &answer, By: "tiny"},
		{Messages: []weighed{system, user("Hi"), said("You said: Hi", nil)}, Weight: 0, Verdict: "bad"}, // whose answer that was is not known any more
	}
	got := kept(t, path)
	for i := range got {
		if time.Since(got[i].Time) > time.Hour {
			t.Errorf("line %d is of %v", i, got[i].Time)
		}
		got[i].Time = time.Time{}
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("kept\n%s\nwant\n%s", a, b)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder has the mode %v, %v", info.Mode(), err)
	}
	if turns := s.Conversation.Turns; len(turns) != 0 {
		t.Errorf("the conversation is %v", turns)
	}
}

func TestFeedbackThatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	for name, f := range map[string]*Feedback{"no home": nil, "a folder": {Path: dir}, "below a file": {Path: filepath.Join(dir, "file", "x")}} {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := begun(&answers{})
		s.Feedback = f
		if _, notes := talk(t, s, "Hi", "/good"); !strings.Contains(notes, "✗ /good: ") || s.verdict != "" {
			t.Errorf("%s: said %q, verdict %q", name, notes, s.verdict)
		}
	}
}

// The same is said of another answer again: of the next one, of the one asked anew, and of that of a conversation from a file.
func TestFeedbackOfAnotherAnswer(t *testing.T) {
	dir := t.TempDir()
	s := begun(&answers{})
	s.Feedback = &Feedback{Path: filepath.Join(dir, "f")}
	saved := filepath.Join(dir, "saved")
	_, notes := talk(t, s, "Hi", "/good", "Ho", "/good", "/save "+saved, "/retry", "/good", "/load "+saved, "/good", "/good", "/correct one", "/correct two")
	lines := kept(t, s.Feedback.Path)
	if len(lines) != 6 || lines[5].Messages[4].Content != "two" || strings.Count(notes, "that was said already") != 1 {
		t.Fatalf("said %q, kept %v; want six, and one that was said already", notes, lines)
	}
	for i, want := range []string{"tiny", "tiny", "tiny", "", "", ""} { // whose answer is in the file is not known
		if lines[i].By != want {
			t.Errorf("line %d: the answer is by %q, want %q", i+1, lines[i].By, want)
		}
	}
}

// An answer that failed is not the last answer: what is said is not about the one before it.
func TestFeedbackAfterAFailure(t *testing.T) {
	b := &answers{}
	s := begun(b)
	s.Feedback = &Feedback{Path: filepath.Join(t.TempDir(), "f")}
	talk(t, s, "Hi")
	b.events = func(context.Context, Question) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) { yield(Event{}, errors.New("out of memory")) }
	}
	_, notes := talk(t, s, "Ho", "/good")
	if !strings.Contains(notes, "the last question got no answer") || len(kept(t, s.Feedback.Path)) != 0 {
		t.Errorf("said %q, kept %v", notes, kept(t, s.Feedback.Path))
	}
}

// A line that was cut stays alone, and lines of several programs do not mix.
func TestFeedbackLinesAreWhole(t *testing.T) {
	f := &Feedback{Path: filepath.Join(t.TempDir(), "f")}
	if err := os.WriteFile(f.Path, []byte(`{"messages":[{"ro`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.add(judged{Verdict: "good"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Path)
	if err != nil || !strings.HasPrefix(string(data), "{\"messages\":[{\"ro\n{") || !strings.HasSuffix(string(data), "}\n") {
		t.Errorf("after a cut line: %q, %v", data, err)
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if err := f.add(judged{Verdict: strings.Repeat("x", 10_000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	lines := kept(t, f.Path)
	for _, l := range lines {
		if len(l.Verdict) != 10_000 {
			t.Errorf("a line of %d", len(l.Verdict))
		}
	}
	if len(lines) != 160 {
		t.Errorf("%d lines, want 160", len(lines))
	}
}

func TestAdapters(t *testing.T) {
	b := &answers{}
	_, notes := talk(t, begun(b), "/lora", "/lora pirate:0.5  judge", "/lora", "/lora off", "/lora")
	for _, want := range []string{"used   none\nhere   judge pirate", "from now on with pirate:0.5 judge\n> used   pirate:0.5 judge", "no adapter from now on\n> used   none"} {
		if !strings.Contains(notes, want) {
			t.Errorf("said\n%s\nwithout %q", notes, want)
		}
	}
	b = &answers{refuses: errors.New("there is no adapter of that name")}
	if _, notes := talk(t, begun(b), "/lora x"); !strings.Contains(notes, "✗ there is no adapter of that name") || b.adapted != nil {
		t.Errorf("said %q, uses %v", notes, b.adapted)
	}
	s := begun(&answers{})
	if from, words := s.complete("/lora p"); from != 6 || len(words) != 1 || words[0] != "pirate" {
		t.Errorf("completed from %d with %v", from, words)
	}
}
