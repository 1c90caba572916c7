package repl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shammah/shammah-engine/engine/chat"
)

// What a judged answer counts in training, where plain data counts 1. A bad answer without a better one is kept, and not learned.
const (
	weightBad     = 0
	weightGood    = 3
	weightCorrect = 10
)

// Feedback is where what the user thinks of answers is kept: a file of JSON lines, which `lora train` reads. It stays on this machine.
type Feedback struct{ Path string }

// judged is one line of it. Messages is the conversation as it should have gone: it ends with the answer, or with what stands in its place.
type judged struct {
	Messages []weighed `json:"messages"`
	Weight   int       `json:"weight"`
	Verdict  string    `json:"verdict"`          // good, bad or correct
	Answer   *string   `json:"answer,omitempty"` // what the model said, if the messages end with something else
	By       string    `json:"by,omitempty"`     // who said it
	Time     time.Time `json:"time"`
}

// weighed is a message. An answer before the last was not judged: its weight is 0, as in the files of OpenAI's fine-tuning.
type weighed struct {
	chat.Message
	Weight *int `json:"weight,omitempty"`
}

func (s *Session) good(context.Context, string) error { return s.judge("good", weightGood, "") }
func (s *Session) bad(context.Context, string) error  { return s.judge("bad", weightBad, "") }

func (s *Session) correct(_ context.Context, text string) error {
	if text = message(text); text == "" {
		return errors.New("/correct: say after it what the answer should have been")
	}
	return s.judge("correct", weightCorrect, text)
}

// judge keeps what the user thinks of the last answer.
func (s *Session) judge(verdict string, weight int, correction string) error {
	turns := s.Conversation.Turns
	switch {
	case s.Feedback == nil || s.Feedback.Path == "":
		return fmt.Errorf("/%s: there is no folder to keep it in: set HOME, or SHAMMAH_HOME", verdict)
	case len(turns) == 0 || turns[len(turns)-1].Role != chat.Assistant:
		return fmt.Errorf("/%s: nothing was answered yet", verdict)
	case s.unanswered != "":
		return fmt.Errorf("/%s: the last question got no answer; /retry asks it again", verdict)
	case s.verdict == verdict && correction == "":
		s.Output.Note("that was said already")
		return nil
	}
	j := judged{Weight: weight, Verdict: verdict, By: s.by, Time: time.Now().UTC().Truncate(time.Second)}
	zero := 0
	for _, m := range s.Conversation.Messages() {
		w := weighed{Message: m}
		if m.Role == chat.Assistant {
			w.Weight = &zero
		}
		j.Messages = append(j.Messages, w)
	}
	last := &j.Messages[len(j.Messages)-1]
	last.Weight = nil // the line's own counts
	if correction != "" {
		answer := last.Content
		last.Content, j.Answer = correction, &answer
	}
	if err := s.Feedback.add(j); err != nil {
		return fmt.Errorf("/%s: keep it: %w", verdict, err)
	}
	s.verdict = verdict
	kept := map[string]string{
		"good": "noted: more like this", "bad": "noted, but nothing is learned from it alone: /correct TEXT says what is right", "correct": "noted: this instead",
	}[verdict]
	s.Output.Note(fmt.Sprintf("%s · weight %d in %s, which stays on this machine", kept, weight, s.Feedback.Path))
	return nil
}

// add appends a line, whole or not at all.
func (f *Feedback) add(j judged) (err error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(j); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil { // freed when the file is closed
		return &os.PathError{Op: "lock", Path: f.Path, Err: err}
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	line := b.Bytes()
	if size := info.Size(); size > 0 { // a line that a full disk or a power failure cut stays alone
		end := make([]byte, 1)
		if _, err := file.ReadAt(end, size-1); err != nil && err != io.EOF {
			return err
		}
		if end[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := file.Write(line); err != nil {
		return errors.Join(err, file.Truncate(info.Size()))
	}
	return file.Sync()
}
