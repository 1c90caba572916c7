package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// scripts is what the program unpacks; the Python of these tests does not read it.
func scripts() fstest.MapFS {
	return fstest.MapFS{"train.py": {Data: []byte("pass\n")}, requirements: {Data: []byte("# nothing\n")}}
}

// python is a program that says and does what a test wants, in the shell's words. $out is the folder to make.
func python(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python")
	text := "#!/bin/sh\nfor out; do :; done\n" + body
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	p := python(t, `test -f "$2" || exit 9
echo "train: 3 lines" >&2
echo "$3 $4" >&2
for i in 1 2; do echo "{\"step\": $i, \"steps\": 2, \"loss\": 0.5}"; done
mkdir "$out" && echo "{\"done\": \"$out\"}"
`)
	work := t.TempDir()
	var steps []Progress
	var said []string
	dir, err := Job{p, scripts(), work, []string{"--base", "b"}}.Run(t.Context(), func(p Progress) { steps = append(steps, p) }, func(line string) { said = append(said, line) })
	if err != nil || dir != filepath.Join(work, "adapter") {
		t.Errorf("%s, %v", dir, err)
	}
	if want := []Progress{{1, 2, 0.5}, {2, 2, 0.5}}; fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	if got := strings.Join(said, "|"); got != "train: 3 lines|--base b" {
		t.Errorf("said %q", got)
	}
}

func TestRunThatFails(t *testing.T) {
	for name, c := range map[string]struct{ body, word string }{
		"its own words":      {`echo "train: data.jsonl:3: not JSON" >&2; exit 1`, "training: train: data.jsonl:3: not JSON"},
		"a traceback":        {`printf 'Traceback\n  File "x"\nRuntimeError: no room\n' >&2; exit 1`, "training: train: RuntimeError: no room"},
		"without a word":     {`exit 3`, "exit status 3"},
		"killed":             {`kill -9 $$`, "killed"},
		"no adapter":         {`echo '{"step": 1, "steps": 1, "loss": 1}'; echo bye >&2`, "ended without an adapter; it said last: bye"},
		"another place":      {`echo '{"done": "/elsewhere"}'`, "ended without an adapter"},
		"no JSON":            {`echo 'hello'; echo "{\"done\": \"$out\"}"`, `"hello" is no line of JSON`},
		"a number in words":  {`echo '{"step": "one"}'`, "is no line of JSON"},
		"a line without end": {`head -c 300000 /dev/zero | tr '\0' 'x'`, "is no line of JSON"},
		"not UTF-8":          {`printf '\377\n' >&2; exit 1`, "training: train: ?"},
	} {
		said := ""
		_, err := Job{python(t, c.body), scripts(), t.TempDir(), nil}.Run(t.Context(), func(Progress) {}, func(line string) { said += line + "|" })
		if last, failed := strings.CutPrefix(c.word, "training: train: "); failed && strings.Contains(said, last) {
			t.Errorf("%s: the reason is told before the error, too: %q", name, said)
		}
		if err == nil || !strings.Contains(err.Error(), c.word) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 700 {
			t.Errorf("%s: %v, want %q", name, err, c.word)
		}
	}
	if _, err := (Job{filepath.Join(t.TempDir(), "none"), scripts(), t.TempDir(), nil}).Run(t.Context(), nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no Python: %v", err)
	}
}

// Who asks it to end is not answered before it has ended, and everything that it started.
func TestRunIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := python(t, `trap 'echo "stopped, nothing was written" >&2; exit 143' TERM
echo '{"step": 1, "steps": 9, "loss": 1}'
while :; do sleep 0.05; done
`)
	said := ""
	_, err := Job{p, scripts(), t.TempDir(), nil}.Run(ctx, func(Progress) { cancel() }, func(line string) { said += line })
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(said, "stopped, nothing was written") { // the shell may say first that sleep was ended
		t.Errorf("%v; the script said %q", err, said)
	}
}

func TestCheck(t *testing.T) {
	if err := Check(t.Context(), python(t, "echo")); err != nil {
		t.Error(err)
	}
	err := Check(t.Context(), python(t, "echo torch peft"))
	if !errors.Is(err, ErrPackages) || !strings.HasSuffix(err.Error(), ": torch, peft") {
		t.Errorf("two are missing: %v", err)
	}
	if err := Check(t.Context(), python(t, "echo 'SyntaxError: of Python 2' >&2; exit 1")); err == nil || !strings.Contains(err.Error(), "SyntaxError: of Python 2") {
		t.Errorf("another Python: %v", err)
	}
}

func TestInstall(t *testing.T) {
	home := t.TempDir()
	e := In(home)
	if e.Installed(scripts()) {
		t.Error("installed before it was")
	}
	venv := func(pip string) string {
		return python(t, `mkdir -p "$out/bin"; printf '#!/bin/sh\n`+pip+`\n' > "$out/bin/python"; chmod 700 "$out/bin/python"`)
	}
	var out bytes.Buffer
	if err := e.Install(t.Context(), venv("echo ERROR: no matching hash >&2; exit 1"), scripts(), &out); err == nil || !strings.Contains(err.Error(), "no matching hash") {
		t.Errorf("a failure: %v", err)
	}
	if _, err := os.Stat(e.Dir()); !os.IsNotExist(err) {
		t.Errorf("a failure leaves %s: %v", e.Dir(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Install(ctx, venv("exit 0"), scripts(), &out); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if entries, _ := os.ReadDir(home); len(entries) != 0 {
		t.Errorf("a cancelled installation leaves %v", entries)
	}
	if err := os.MkdirAll(filepath.Join(e.Dir(), "bin"), 0o700); err != nil { // of one that was killed
		t.Fatal(err)
	}
	out.Reset()
	if err := e.Install(t.Context(), venv(`echo "$@"`), scripts(), &out); err != nil || !strings.Contains(out.String(), "--require-hashes --no-deps") {
		t.Errorf("%v; pip got %q", err, out.String())
	}
	if !e.Installed(scripts()) {
		t.Error("not installed after it was")
	}
	other := scripts()
	other[requirements] = &fstest.MapFile{Data: []byte("peft==2\n")}
	if err := e.Install(t.Context(), venv("exit 1"), other, &out); err == nil || !e.Installed(scripts()) {
		t.Errorf("a failure (%v) takes what was there before", err)
	}
	if err := e.Install(t.Context(), "no-such-python", other, &out); err == nil || !strings.Contains(err.Error(), "--python") || !e.Installed(scripts()) {
		t.Errorf("without Python: %v", err)
	}
	if err := e.Install(t.Context(), e.Python(), other, &out); err == nil || !strings.Contains(err.Error(), "made anew") || !e.Installed(scripts()) {
		t.Errorf("with its own Python: %v", err)
	}
	if e.Installed(other) {
		t.Error("installed with other pins")
	}
}
