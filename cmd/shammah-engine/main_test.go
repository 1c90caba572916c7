package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// fullDisk takes nothing.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	command(t, "", "version") // which sets the library for what follows
	model := fixture(t, "b-fp32")
	for _, args := range [][]string{
		{"version"}, {"doctor"}, {"completion", "bash"}, {"completion", "fish"},
		{"run", "--model", model, "-n", "2", "hi"}, {"run", "--model", model, "-n", "2", "--json", "hi"},
		{"bench", "--model", model, "-p", "4", "-n", "0", "-r", "1"},
	} {
		var problems bytes.Buffer
		code := run(t.Context(), append([]string{"shammah-engine"}, args...), strings.NewReader(""), fullDisk{}, &problems)
		if code != exitFailure || !strings.Contains(lastLine(problems.String()), errFull.Error()) {
			t.Errorf("%v: got %d %q, want 1 and the cause", args, code, problems.String())
		}
	}
}

func TestUsageLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "hi", "--model"}, "shammah-engine: run: flag needs an argument: -model"},
		{[]string{"bench", "-r"}, "shammah-engine: bench: flag needs an argument: -r"},
		{[]string{"run", "--config"}, "shammah-engine: flag needs an argument: -config"},
		{[]string{"run", "-n", "x", "hi"}, `shammah-engine: run: invalid value "x" for flag -n`},
		{[]string{"rnu"}, `shammah-engine: there is no command "rnu"`},
		{[]string{"--frob"}, "shammah-engine: flag provided but not defined: -frob"},
	} {
		got := command(t, "", c.args...)
		if got.code != exitUsage || !strings.HasPrefix(got.problems, c.want) || strings.Count(got.problems, "\n") != 1 || got.out != "" {
			t.Errorf("%v: got %d %q %q; want 2 and one line that begins with %q", c.args, got.code, got.out, got.problems, c.want)
		}
	}
}

func TestHelpHidesWhatIsOff(t *testing.T) {
	for _, name := range []string{"run", "chat", "bench", "doctor", "pull"} {
		if got := command(t, "", name, "--help"); got.code != 0 || strings.Contains(got.out, "default: false") {
			t.Errorf("%s --help: got %d\n%s", name, got.code, got.out)
		}
	}
}

// The help of a command is the same by either way, and so it is in the second program of a process.
func TestHelpCommand(t *testing.T) {
	for _, path := range [][]string{nil, {"run"}, {"config"}, {"config", "set"}, {"help"}, {"ls"}} {
		for range 2 {
			got, want := command(t, "", append([]string{"help"}, path...)...), command(t, "", append(path, "--help")...)
			if got.code != 0 || got.out != want.out || !strings.Contains(got.out, "USAGE") || got.problems != "" {
				t.Errorf("help %v: got %d %q %q, want 0 and what --help prints: %q", path, got.code, got.out, got.problems, want.out)
			}
		}
	}
	if got, want := command(t, "", "run", "hi", "--help", "-n", "5"), command(t, "", "run", "--help"); got.code != 0 || got.out != want.out {
		t.Errorf("--help after a prompt: got %d %q %q, want the help of run", got.code, got.out, got.problems)
	}
	for args, want := range map[string]string{"nope": `no command "nope"`, "run hi": `no command "run hi"`, "config --set": "not defined: -set"} {
		got := command(t, "", append([]string{"help"}, strings.Fields(args)...)...)
		if got.code != exitUsage || got.out != "" || !strings.Contains(got.problems, want) {
			t.Errorf("help %s: got %d %q %q; want 2 and a line with %s", args, got.code, got.out, got.problems, want)
		}
	}
}

// Words of a prompt are no commands.
func TestPromptsThatBeginWithHelp(t *testing.T) {
	model := fixture(t, "b-fp32")
	for _, prompt := range [][]string{{"help"}, {"h"}, {"help", "me"}} {
		got := command(t, "", append([]string{"run", "--model", model, "--temperature", "0", "-n", "3"}, prompt...)...)
		if got.code != 0 || got.out == "" || strings.Contains(got.out, "USAGE") {
			t.Errorf("%q: got %d %q %q, want an answer", prompt, got.code, got.out, got.problems)
		}
	}
}

func TestUnknownKernelsAreRefused(t *testing.T) {
	t.Setenv("SHAMMAH_CPU_RUNG", "sse9")
	for _, name := range []string{"doctor", "run"} {
		got := command(t, "hi", name)
		if got.code != exitFailure || got.out != "" || !strings.Contains(got.problems, "SHAMMAH_CPU_RUNG") || !strings.Contains(got.problems, `"sse9"`) || !strings.Contains(got.problems, "plain") {
			t.Errorf("%s: got %d %q %q, want 1 and the names that there are", name, got.code, got.out, got.problems)
		}
	}
}

// What a model's files say is shown, and steers no terminal.
func TestNothingSteersTheTerminal(t *testing.T) {
	var out strings.Builder
	err := table(&out, func(line func(...string)) {
		line("family", "qwen\x1b[31m\nsecond\u202e line\u009b1m \xff")
		line("  indented", "Größe 家 🦙")
	})
	if want := "family      qwen [31m second  line 1m \ufffd\n  indented  Größe 家 🦙\n"; err != nil || out.String() != want {
		t.Errorf("got %q, %v; want %q", out.String(), err, want)
	}
}
