package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/internal/session"
	"github.com/shammah/shammah-engine/ort"
)

// kept reads a session's conversation.
func keptIn(t *testing.T, path string) session.Talk {
	t.Helper()
	talk, err := session.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// answered is what run --json printed.
func answered(t *testing.T, o outcome) (r result) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.out), &r); err != nil || o.code != 0 {
		t.Fatalf("got %d %q %q: %v", o.code, o.out, o.problems, err)
	}
	return r
}

// A session goes on where it was: with its model, its system message and all that was said, and none of it is computed again.
// The answers are those of a conversation that never ended.
func TestRunGoesOnWithASession(t *testing.T) {
	alone(t)
	for _, model := range []string{"tiny", fixture(t, "a-fp32")} {
		path := filepath.Join(t.TempDir(), "notes.session")
		questions := []string{"hello", "What is a cat?", "and now?"}
		whole := say(t, questions, "--model", model, "--system", "Be brief.", "--temperature", "0", "-n", "8")
		var answers strings.Builder
		for i, q := range questions {
			args := []string{"run", "--session", path, "--temperature", "0", "-n", "8", "--json", q}
			if i == 0 {
				args = append(args, "--model", model, "--system", "Be brief.")
			}
			got := command(t, "", args...)
			r := answered(t, got)
			answers.WriteString(r.Text + "\n")
			if (r.ReusedTokens > 8) != (i > 0) || (i > 0) != strings.Contains(got.problems, " messages from "+path) || strings.Contains(got.problems, "computed again") {
				t.Errorf("%s, question %d: %d tokens of %d were computed before, said %q", model, i+1, r.ReusedTokens, r.PromptTokens, got.problems)
			}
		}
		if answers.String() != whole.out {
			t.Errorf("%s: got %q, want %q", model, answers.String(), whole.out)
		}
		if talk := keptIn(t, path); talk.Model != model || talk.System != "Be brief." || len(talk.Turns) != 6 {
			t.Errorf("%s: kept %+v", model, talk)
		}
	}
}

// What was computed by another model, or is damaged, is computed again: the conversation goes on.
func TestSessionWhoseCacheIsRefused(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "notes.session")
	run := func(args ...string) (result, string) {
		got := command(t, "", append([]string{"run", "--session", path, "--temperature", "0", "-n", "8", "--ignore-eos", "--json", "hello"}, args...)...)
		return answered(t, got), got.problems
	}
	run("--model", fixture(t, "b-fp32"))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := run()
	for name, change := range map[string]func([]byte) []byte{
		"damaged":        func(b []byte) []byte { b[len(b)-100] ^= 1; return b },
		"cut":            func(b []byte) []byte { return b[:len(b)-100] },
		"something else": func(b []byte) []byte { return append(b[:bytes.Index(b, []byte("\n}\n"))+3], "hello"...) },
		"newer":          func(b []byte) []byte { b[bytes.Index(b, []byte("shammah cache"))+16] = 9; return b },
	} {
		if err := os.WriteFile(path, change(bytes.Clone(data)), 0o600); err != nil {
			t.Fatal(err)
		}
		r, said := run()
		if r.Text != want.Text || r.ReusedTokens != 0 || strings.Count(said, "computed again") != 1 || len(keptIn(t, path).Turns) != 4 {
			t.Errorf("%s: got %+v, said %q; want %q, all computed, and a line", name, r, said, want.Text)
		}
		got := say(t, []string{"again", "and again"}, "--session", path, "-n", "8", "--ignore-eos")
		if got.code != 0 || strings.Contains(got.problems, "computed again") || len(keptIn(t, path).Turns) != 8 {
			t.Errorf("%s, afterwards: got %d, said %q", name, got.code, got.problems)
		}
	}
	r, said := run("--model", "tiny")
	if r.Model != "tiny" || r.ReusedTokens != 0 || !strings.Contains(said, `it was saved with "b-fp32", this is tiny`) {
		t.Errorf("another model: got %+v, said %q", r, said)
	}
	if talk := keptIn(t, path); talk.Model != "tiny" || len(talk.Turns) != 10 {
		t.Errorf("another model: kept %d messages with %s", len(talk.Turns), talk.Model)
	}
}

// chat keeps its session when it ends, and /save and /load are the same for any file.
func TestChatKeepsASession(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	path, copied, text := filepath.Join(dir, "notes.session"), filepath.Join(dir, "copy"), filepath.Join(dir, "copy.json")
	args := []string{"--session", path, "--temperature", "0"}
	got := say(t, []string{"hello", "/save " + copied, "/save " + text, "/system Be brief.", "/undo"}, args...)
	if got.code != 0 || len(keptIn(t, path).Turns) != 0 || len(keptIn(t, copied).Turns) != 2 || len(keptIn(t, text).Turns) != 2 {
		t.Errorf("got %d, said %q", got.code, got.problems)
	}
	size := func(file string) int64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if whole := size(copied); size(path) > whole-3000 || size(text) > 300 { // what was taken back is not in it
		t.Errorf("the conversation takes %d bytes, without its only question %d, as JSON alone %d", whole, size(path), size(text))
	}
	if got = say(t, []string{"/load " + copied, "What is a cat?", "/show"}, args...); got.code != 0 || !strings.Contains(got.problems, "2 messages from "+copied) || strings.Contains(got.problems, "computed again") {
		t.Errorf("got %d, said %q", got.code, got.problems)
	}
	if got = say(t, []string{"And what is a dog?", "/stats", "/undo"}, args...); !strings.Contains(got.problems, " computed before)") {
		t.Errorf("a question beside those that were kept: said %q", got.problems)
	}
	if got = say(t, []string{"/show"}, args...); !strings.Contains(got.problems, "4 messages from "+path) || !strings.Contains(got.problems, "> What is a cat?") {
		t.Errorf("the next day: said %q", got.problems)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := fixture(t, "b-fp32")
	if got = say(t, []string{"/show"}, append(args, "--model", other)...); got.code != 0 {
		t.Errorf("got %d, said %q", got.code, got.problems)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("nothing was said, and the session was written anew (%v)", err)
	}
	if got = say(t, []string{"one"}, append(args, "--model", other, "-n", "4", "--ignore-eos")...); strings.Count(got.problems, "computed again") != 1 {
		t.Errorf("another model: said %q", got.problems)
	}
}

// stopper is an output at whose first byte the user stops the program.
type stopper struct {
	said string
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	s.stop()
	s.said += string(b)
	return len(b), nil
}

// Stopped in the middle, what was there is there, and so is what was said until then.
func TestStoppedSession(t *testing.T) {
	alone(t)
	t.Setenv(ort.LibraryVariable, ortest.Library(t))
	for name, c := range map[string]struct {
		input string
		args  []string
		early bool // before anything is said
	}{
		"run":              {"", []string{"run", "--ignore-eos", "Tell me a story."}, false},
		"chat":             {"Tell me a story.\n", []string{"chat", "--ignore-eos"}, false},
		"run, at the load": {"", []string{"run", "hello"}, true},
	} {
		path := filepath.Join(t.TempDir(), "notes.session")
		talk := session.Talk{Model: "tiny"}
		talk.Ask("hello")
		talk.Answer("Hello.")
		if err := session.Write(path, talk, nil); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		out, problems := &stopper{stop: stop}, &bytes.Buffer{}
		if c.early {
			stop()
		}
		code := run(ctx, append([]string{"shammah-engine", c.args[0], "--session", path}, c.args[1:]...), strings.NewReader(c.input), out, problems)
		got := keptIn(t, path)
		want := 4
		if c.early {
			want = 2
		}
		if code != exitInterrupted || len(got.Turns) != want || got.Turns[1] != (chat.Message{Role: chat.Assistant, Content: "Hello."}) {
			t.Errorf("%s: ended with %d, kept %+v, said %q", name, code, got, problems.String())
		}
		if !c.early && (got.Turns[3].Content == "" || !strings.HasPrefix(out.said, got.Turns[3].Content)) {
			t.Errorf("%s: kept %q of %q", name, got.Turns[3].Content, out.said)
		}
	}
}

// Two programs with one session: the second to write leaves the other's conversation, says where its own is, and goes on there.
func TestTwoProgramsOnOneSession(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	path, beside := filepath.Join(dir, "notes.session"), filepath.Join(dir, "notes-2.session")
	program, in, out := newProgram(t, "chat", "--model", "tiny", "--session", path, "-n", "4", "--ignore-eos")
	answer := func(question string) {
		fmt.Fprintln(in, question)
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	answer("one")
	answer("two")
	talk := session.Talk{Model: "tiny"}
	talk.Ask("theirs")
	talk.Answer("Yes.")
	if err := session.Write(path, talk, nil); err != nil {
		t.Fatal(err)
	}
	answer("three")
	in.Close()
	if err := program.Wait(); err != nil {
		t.Errorf("chat: %v", err)
	}
	said := program.Stderr.(*bytes.Buffer).String()
	if want := "somebody else has written it meanwhile: this conversation is kept in " + beside; strings.Count(said, want) != 1 {
		t.Errorf("chat said %q, want one line with %q", said, want)
	}
	if theirs := keptIn(t, path); len(theirs.Turns) != 2 || theirs.Turns[0].Content != "theirs" {
		t.Errorf("what somebody else kept became %+v", theirs)
	}
	if ours := keptIn(t, beside); len(ours.Turns) != 6 || ours.Turns[4].Content != "three" {
		t.Errorf("chat kept %+v", ours)
	}
}

// What /save says is in the session's own file is there, even where nothing was said that it would be kept for anyway.
func TestSaveToTheSession(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "notes.session")
	got := say(t, []string{"/save " + path}, "--model", "tiny", "--session", path)
	if _, err := os.Stat(path); err != nil || got.code != 0 || !strings.Contains(got.problems, "0 messages are in "+path) {
		t.Errorf("got %d, said %q; %v", got.code, got.problems, err)
	}
	got = say(t, []string{"one", "/save " + path, "two"}, "--model", "tiny", "--session", path, "-n", "4", "--ignore-eos")
	if talk := keptIn(t, path); got.code != 0 || len(talk.Turns) != 4 || strings.Contains(got.problems, "meanwhile") {
		t.Errorf("got %d, said %q, kept %+v; want the whole conversation where it began", got.code, got.problems, talk)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"./notes", filepath.Join(dir, "notes")} { // the first before there is a file
		got = say(t, []string{"/save " + name, "one"}, "--model", "tiny", "--session", "notes", "-n", "4", "--ignore-eos")
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || got.code != 0 || strings.Contains(got.problems, "meanwhile") {
			t.Errorf("/save %s: got %d, said %q; %d files, %v", name, got.code, got.problems, len(files), err)
		}
	}
}

// An answer whose conversation is kept elsewhere, or without its cache, is no failure; one that is kept nowhere is.
func TestAfterKeeping(t *testing.T) {
	for keepErr, fails := range map[error]bool{nil: false, session.ErrElsewhere: false, session.ErrCache: false, io.ErrShortWrite: true} {
		var log bytes.Buffer
		err := afterKeeping(&log, nil, keepErr)
		if (err != nil) != fails || (log.Len() > 0) != (keepErr != nil && !fails) {
			t.Errorf("%v: got %v and %q", keepErr, err, log.String())
		}
	}
}

// Whoever kills the program takes nothing that was answered.
func TestKilledSession(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "notes.session")
	program, in, out := newProgram(t, "chat", "--model", "tiny", "--session", path, "-n", "4", "--ignore-eos")
	fmt.Fprintf(in, "one\ntwo\n")
	for range 2 { // the second answer begins after the first is kept
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait()
	if got := keptIn(t, path); len(got.Turns) < 2 || got.Turns[0].Content != "one" || got.Turns[1].Content == "" {
		t.Errorf("kept %+v, want at least the first answer", got)
	}
}

// newProgram starts the program as a process, with its standard input and output as pipes.
func newProgram(t *testing.T, args ...string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := exec.CommandContext(t.Context(), self, args...)
	p.Env = append(os.Environ(), programVariable+"=1", ort.LibraryVariable+"="+ortest.Library(t))
	p.Stderr = &bytes.Buffer{}
	in, errIn := p.StdinPipe()
	out, errOut := p.StdoutPipe()
	if err := errors.Join(errIn, errOut, p.Start()); err != nil {
		t.Fatal(err)
	}
	return p, in, bufio.NewReader(out)
}

// A conversation that no longer fits loses its oldest turns for the model, not in the file.
func TestLongSession(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "notes.session")
	said := ""
	for range 6 {
		got := command(t, "", "run", "--session", path, "--model", fixture(t, "b-fp32"), "--context", "96", "-n", "8", "--ignore-eos", "one")
		if said += got.problems; got.code != 0 {
			t.Fatalf("got %d %q", got.code, got.problems)
		}
	}
	if n := len(keptIn(t, path).Turns); n != 12 || !strings.Contains(said, "oldest messages do not fit the context any more and are left out") {
		t.Errorf("kept %d messages, said %q", n, said)
	}
}

func TestSessionBadInput(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	thesis := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(thesis, []byte("It was a dark night."), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"--session", ""}, "--session has no file name"},
		{exitUsage, []string{"--session", filepath.Join(dir, "new"), "--raw"}, "--raw has none"},
		{exitFailure, []string{"--session", thesis}, "thesis.txt: not a conversation"},
		{exitFailure, []string{"--session", dir}, "found a folder"},
		{exitFailure, []string{"--session", filepath.Join(dir, "no", "new")}, "nothing could be kept in " + filepath.Join(dir, "no", "new") + ": no such file"},
	} {
		got := command(t, "", append(append([]string{"run"}, c.args...), "hello")...)
		if got.code != c.code || got.out != "" || !strings.Contains(got.problems, c.want) || strings.Count(got.problems, "\n") != 1 {
			t.Errorf("%q: got %d %q %q; want %d and one line with %q", c.args, got.code, got.out, got.problems, c.code, c.want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are in the folder, want one", len(files))
	}
}
