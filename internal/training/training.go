// Package training runs the Python that trains adapters: finds it, installs what it imports, and reads its progress.
//
// The scripts come out of the program. They run in a process group of their own, so that the one who waits decides when they end: an
// interrupt of the terminal reaches this program alone, which stops them and removes what they made.
package training

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrPackages is wrapped by errors about a Python without what the scripts import.
var ErrPackages = errors.New("Python's packages are missing")

// Packages are what the scripts import beside Python's own.
func Packages() []string {
	return []string{"torch", "transformers", "peft", "safetensors", "onnx", "onnxruntime", "numpy", "jinja2"}
}

// requirements is the file of the scripts that pins what is installed.
const requirements = "requirements.txt"

// marker is a file in an environment whose installation was finished; it holds the pins that were installed.
const marker = "shammah-installed"

// stopWithin is how long a script may take to end when it is asked to.
const stopWithin = 10 * time.Second

// Environment is where Python and its packages for training are.
type Environment struct{ dir string }

// In is the environment in the folder of the program's own files.
func In(home string) Environment { return Environment{filepath.Join(home, "python")} }

// Dir is its folder.
func (e Environment) Dir() string { return e.dir }

// Python is the program that the environment runs.
func (e Environment) Python() string { return filepath.Join(e.dir, "bin", "python") }

// Installed says whether the environment is there whole, with the pins that these scripts have.
func (e Environment) Installed(scripts fs.FS) bool {
	want, err := fs.ReadFile(scripts, requirements)
	have, haveErr := os.ReadFile(filepath.Join(e.dir, marker))
	return err == nil && haveErr == nil && bytes.Equal(want, have)
}

// Install makes the environment with a Python of the system and the pinned packages. What was there stays until the new one is whole, and comes
// back where it fails.
func (e Environment) Install(ctx context.Context, python string, scripts fs.FS, out io.Writer) (err error) {
	pins, err := fs.ReadFile(scripts, requirements)
	if err != nil {
		return fmt.Errorf("training: install the packages: %w", err)
	}
	if python, err = exec.LookPath(python); err != nil {
		return fmt.Errorf("training: install the packages: %w; install Python 3.11 or newer, or name one with --python", err)
	}
	if inside, err := filepath.Rel(e.dir, python); err == nil && filepath.IsLocal(inside) {
		return fmt.Errorf("training: install the packages: %s is in the folder that is made anew; name a Python of the system with --python", python)
	}
	old := e.dir + ".old"
	err = os.RemoveAll(old)
	if err == nil {
		err = os.Rename(e.dir, old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("training: install the packages: %w", err)
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(old)
			return
		}
		back := errors.Join(os.RemoveAll(e.dir), os.Rename(old, e.dir))
		if !errors.Is(back, fs.ErrNotExist) {
			err = errors.Join(err, back)
		}
	}()
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return fmt.Errorf("training: install the packages: %w", err)
	}
	list := filepath.Join(e.dir, requirements)
	if err := os.WriteFile(list, pins, 0o600); err != nil {
		return fmt.Errorf("training: install the packages: %w", err)
	}
	for _, args := range [][]string{
		{python, "-m", "venv", e.dir},
		{e.Python(), "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", list},
	} {
		var last tail
		c := command(ctx, args[0], args[1:]...)
		c.Stdout = io.MultiWriter(out, &last)
		c.Stderr = c.Stdout // one stream: out is written by nobody else meanwhile
		if err := c.Run(); err != nil {
			return failure(ctx, "install the packages", err, last.line())
		}
	}
	if err := os.WriteFile(filepath.Join(e.dir, marker), pins, 0o600); err != nil {
		return fmt.Errorf("training: install the packages: %w", err)
	}
	return nil
}

// Check says whether a Python has what the scripts import.
func Check(ctx context.Context, python string) error {
	const program = "import sys, importlib.util as u\nprint(' '.join(p for p in sys.argv[1:] if u.find_spec(p) is None))"
	var out bytes.Buffer
	var last tail
	c := command(ctx, python, append([]string{"-c", program}, Packages()...)...)
	c.Stdout, c.Stderr = &out, &last
	if err := c.Run(); err != nil {
		return failure(ctx, "look at "+python, err, last.line())
	}
	if missing := strings.Fields(out.String()); len(missing) > 0 {
		return fmt.Errorf("training: look at %s: %w: %s", python, ErrPackages, strings.Join(missing, ", "))
	}
	return nil
}

// Job is one training.
type Job struct {
	Python  string
	Scripts fs.FS
	Work    string   // an empty folder for what is made on the way
	Args    []string // of train.py, without --out
}

// Progress is how a training gets on.
type Progress struct {
	Step  int     `json:"step"`
	Steps int     `json:"steps"`
	Loss  float64 `json:"loss"`
}

// Run trains, and returns the folder in Work that holds the adapter. Progress and say, which gets what the script tells a person, are
// called from one goroutine at a time.
func (j Job) Run(ctx context.Context, progress func(Progress), say func(line string)) (dir string, err error) {
	code := filepath.Join(j.Work, "scripts")
	if err := os.CopyFS(code, j.Scripts); err != nil {
		return "", fmt.Errorf("training: unpack the scripts: %w", err)
	}
	out := filepath.Join(j.Work, "adapter")
	args := append([]string{"-B", filepath.Join(code, "train.py")}, j.Args...)
	c := command(ctx, j.Python, append(args, "--out", out)...)
	stdout, err := c.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("training: start: %w", err)
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		return "", fmt.Errorf("training: start: %w", err)
	}
	if err := c.Start(); err != nil {
		return "", fmt.Errorf("training: start: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	defer context.AfterFunc(ctx, func() { // what the script started may outlive it, and hold its streams
		select {
		case <-ended:
		case <-time.After(stopWithin):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		}
	})()
	var mu sync.Mutex
	var last tail
	held := "" // the line that came last: if the script fails now it is the reason, and part of the error
	tell := func() {
		if held != "" {
			say(held)
		}
		held = ""
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for line := range lines(stderr) {
			mu.Lock()
			_, _ = last.Write([]byte(line + "\n"))
			tell()
			held = line
			mu.Unlock()
		}
	})
	done, problem := "", error(nil)
	for line := range lines(stdout) {
		var e struct {
			Progress
			Done string `json:"done"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			problem = fmt.Errorf("training: read the progress: %q is no line of JSON", cut(line))
			continue
		}
		if done = e.Done; done == "" && e.Steps > 0 {
			mu.Lock()
			tell()
			progress(e.Progress)
			mu.Unlock()
		}
	}
	reading.Wait()
	err = c.Wait()
	if err == nil || ctx.Err() != nil {
		tell()
	}
	switch {
	case err != nil:
		return "", failure(ctx, "train", err, last.line())
	case problem != nil:
		return "", problem
	case done != out:
		return "", fmt.Errorf("training: train: the script ended without an adapter; it said last: %s", last.line())
	}
	return out, nil
}

// command is a process in a group of its own, which is asked to end when ctx ends, and then made to.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = stopWithin
	return c
}

// failure is why a process failed, in its own last words.
func failure(ctx context.Context, what string, err error, said string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("training: %s: %w", what, ctx.Err())
	}
	if said != "" {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("training: %s: %s", what, said)
		}
	}
	return fmt.Errorf("training: %s: %w", what, err)
}

// lines reads a stream line by line, long ones in pieces.
func lines(r io.Reader) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for {
			line, _, err := in.ReadLine()
			if err != nil {
				return
			}
			if text := strings.TrimSpace(strings.ToValidUTF8(string(line), "?")); text != "" && !yield(text) {
				return
			}
		}
	}
}

// tail keeps the end of what is written.
type tail struct{ end []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if over := len(t.end) - 4096; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(p), nil
}

// line is the last line that says something.
func (t *tail) line() string {
	text := strings.TrimSpace(string(t.end))
	return cut(strings.TrimPrefix(text[strings.LastIndexAny(text, "\r\n")+1:], "train: "))
}

func cut(s string) string {
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}
