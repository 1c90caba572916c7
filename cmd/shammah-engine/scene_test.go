package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

var update = flag.Bool("update", false, "write the scenes as they are now into testdata/scenes")

// programVariable makes the test binary the program itself, so that a terminal can run it.
const programVariable = "SHAMMAH_ENGINE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// stage is a terminal of 80 columns and 24 lines with the program in it.
type stage struct {
	t      *testing.T
	server string // of tmux
}

// patience is how long a scene may take to come: a machine that is busy is no failure.
const patience = 30 * time.Second

func newStage(t *testing.T, terminal string, variables []string, args ...string) *stage {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed: the scenes on a real terminal are left out")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, server: fmt.Sprintf("shammah-%d-%d", os.Getpid(), time.Now().UnixNano())}
	home := t.TempDir()
	line := []string{"env", programVariable + "=1", "HOME=" + home, "SHAMMAH_HOME=" + home, "TERM=" + terminal, "ANTHROPIC_API_KEY=", "SHAMMAH_MODEL=",
		ort.LibraryVariable + "=" + ortest.Library(t)}
	line = append(append(append(line, variables...), self), args...)
	for i := range line {
		line[i] = "'" + line[i] + "'"
	}
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", "trap : INT; "+strings.Join(line, " ")+`; printf '\n[exit %s]\n' $?; exec sleep 1000`)
	t.Cleanup(func() { _ = exec.Command("tmux", "-L", s.server, "kill-server").Run() })
	return s
}

func (s *stage) tmux(args ...string) string {
	s.t.Helper()
	var problems bytes.Buffer
	c := exec.Command("tmux", append([]string{"-L", s.server}, args...)...)
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("tmux %q: %v: %s", args, err, problems.String())
	}
	return string(out)
}

// keys types; names of keys are tmux's: Enter, C-c, Up.
func (s *stage) keys(keys ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, keys...)...)
}

// until waits for a text on the terminal, or, with more arguments for tmux, on what has scrolled away too.
func (s *stage) until(pattern string, scrolled ...string) string {
	s.t.Helper()
	expression, text := regexp.MustCompile(pattern), ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if text = s.tmux(append([]string{"capture-pane", "-p"}, scrolled...)...); expression.MatchString(text) {
			return text
		}
	}
	s.t.Fatalf("%q did not come; the terminal shows\n%s", pattern, text)
	return ""
}

// shows waits for a text and then compares the whole terminal with a file; figures of the status line are not compared.
func (s *stage) shows(scene, pattern string) {
	s.t.Helper()
	got := plainFigures(s.until(pattern))
	path := filepath.Join("testdata", "scenes", scene+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s: the terminal shows\n%s\n--- want\n%s", scene, got, want)
	}
}

// plainFigures is the screen with the status line up to its figures, which are other ones each time.
func plainFigures(screen string) string {
	screen = regexp.MustCompile(`(?m)^(\S+ · CPU) · .*$`).ReplaceAllString(screen, "$1 · …")
	return strings.TrimRight(screen, "\n") + "\n"
}

// ended waits for the end of the program and gives its exit code. The shell says it: tmux does not always notice.
func (s *stage) ended() string {
	s.t.Helper()
	return regexp.MustCompile(`\[exit (\d+)\]`).FindStringSubmatch(s.until(`\[exit \d+\]`))[1]
}

const idle = `\n>\n.* · CPU · .*\n*$` // an empty prompt with the status line of a model that is ready

func TestScenes(t *testing.T) {
	s := newStage(t, "xterm-256color", nil, "chat", "--temperature", "0")
	s.shows("start", "✓ Model ready[^>]*"+idle)
	s.keys("What is the capital of France?", "Enter")
	s.shows("answer", `in [0-9]+ out · `)
	s.keys(`"""`, "Enter", "What is the capital of Italy?", "Enter")
	s.shows("several-lines-typed", `Italy\?\n`+`[^>]*CPU`)
	s.keys(`"""`, "Enter")
	s.shows("several-lines", `Rome`+`[^>]*`+idle)
	s.keys("/undo", "Enter", "/show", "Enter")
	s.shows("undo-and-show", `> /show\n[^/]*`+idle)
	s.keys("/sy", "Tab", "Be brief.", "Enter", "Up", "Up")
	s.shows("completed-and-recalled", `> /show\n.* · CPU`)
	s.keys("C-u", "C-d")
	if code := s.ended(); code != "0" {
		t.Errorf("Ctrl-D ended the program with %s, want 0", code)
	}
}

// The model would never end by itself.
func TestSceneCtrlC(t *testing.T) {
	s := newStage(t, "xterm-256color", nil, "run", "--temperature", "0", "--ignore-eos", "--overflow", "shift")
	s.until(idle)
	s.keys("Tell me a story.", "Enter")
	s.until(`> Tell me a story\.\n\w+`, "-S", "-")
	s.keys("C-c")
	s.until(`\(stopped\)` + idle)
	s.keys("/clear", "Enter", "/show", "Enter")
	s.until(`nothing was said yet`)
	s.keys("Tell me a story.", "Enter")
	s.until(`Tell me a story\.\n(\w|\W)*Tell me a story\.\n\w+`, "-S", "-")
	s.keys("C-c", "C-c") // twice leaves
	if code := s.ended(); code != "130" {
		t.Errorf("Ctrl-C twice ended the program with %s, want 130", code)
	}
}

// A terminal that can only show lines gets lines.
func TestSceneDumb(t *testing.T) {
	s := newStage(t, "dumb", nil, "chat", "--temperature", "0")
	s.until(`\n>`)
	s.keys("What is the capital of France?", "Enter")
	s.until(`✓ Model ready(\w|\W)*Paris(\w|\W)*>`)
	s.keys("C-c")
	s.until("Ctrl-C again leaves")
	s.keys("C-c")
	if code := s.ended(); code != "130" {
		t.Errorf("Ctrl-C twice ended the program with %s, want 130", code)
	}
}

// Without arguments a conversation begins, where it is known with which model; NO_COLOR takes its colours away.
func TestSceneNoColor(t *testing.T) {
	for value, want := range map[string]bool{"": true, "1": false} {
		s := newStage(t, "xterm-256color", []string{"NO_COLOR=" + value, "SHAMMAH_MODEL=tiny"})
		s.until(idle)
		if got := strings.Contains(s.tmux("capture-pane", "-p", "-e"), "\x1b[2m"); got != want {
			t.Errorf("NO_COLOR=%q: faint text %t, want %t", value, got, want)
		}
	}
}
