package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/claude/claudetest"
)

// say runs a conversation whose lines come from a pipe.
func say(t *testing.T, lines []string, args ...string) outcome {
	t.Helper()
	return command(t, strings.Join(lines, "\n")+"\n", append([]string{"chat"}, args...)...)
}

// With nothing downloaded, no configuration and no key, one can talk.
func TestChatFromNothing(t *testing.T) {
	_, api := alone(t)
	got := say(t, []string{"What is the capital of France?", "/stats", "/show"}, "--temperature", "0")
	if got.code != 0 || !strings.Contains(got.out, "Paris") {
		t.Errorf("got %d %q", got.code, got.out)
	}
	begins := "⏳ Initializing tiny model (background)...\n⏳ Loading tiny...\n✓ ONNX session created with provider: CPU\n✓ Model ready for inference\n"
	if !strings.HasPrefix(got.problems, begins) {
		t.Errorf("standard error\n%s\ndoes not begin with\n%s", got.problems, begins)
	}
	for _, want := range []string{"by tiny\n", "ended by stop", "> What is the capital of France?\n" + got.out} {
		if !strings.Contains(got.problems, want) {
			t.Errorf("standard error\n%s\nlacks %q", got.problems, want)
		}
	}
	if n := len(api.Requests()); n != 0 {
		t.Errorf("%d requests left this machine", n)
	}
}

// The model remembers what was said, and a seed gives the same again.
func TestChatIsAConversation(t *testing.T) {
	alone(t)
	args := []string{"--model", fixture(t, "b-fp32"), "--ignore-eos", "--max-tokens", "8", "--temperature", "0"}
	first := say(t, []string{"/set seed 7", "/set temperature 1.5", "hello", "/retry"}, args...)
	lines := strings.Split(first.out, "\n")
	if first.code != 0 || len(lines) < 2 || len(lines)%2 != 1 || strings.Join(lines[:len(lines)/2], "\n") != strings.Join(lines[len(lines)/2:len(lines)-1], "\n") {
		t.Errorf("the same question with the same seed gave %d %q", first.code, first.out)
	}
	alike, after := say(t, []string{"one", "/clear", "two"}, args...), say(t, []string{"one", "two"}, args...)
	if alike.out == after.out {
		t.Errorf("%q: what was said before makes no difference", after.out)
	}
}

// A conversation that no longer fits loses its oldest turns, and says so.
func TestChatForgetsTheOldest(t *testing.T) {
	alone(t)
	args := []string{"--model", fixture(t, "b-fp32"), "--ignore-eos", "--max-tokens", "8", "--temperature", "0", "--context", "96"}
	lines := []string{"one", "two", "three", "four", "five", "six", "/show"}
	got := say(t, lines, args...)
	if got.code != 0 || !strings.Contains(got.problems, "oldest messages do not fit the context any more and are left out") {
		t.Errorf("got %d, standard error\n%s", got.code, got.problems)
	}
	for _, line := range lines[:6] {
		if !strings.Contains(got.problems, "> "+line+"\n") {
			t.Errorf("the conversation has lost %q:\n%s", line, got.problems)
		}
	}
	long := say(t, []string{strings.Repeat("word ", 200)}, args...)
	if long.code != exitFailure || !strings.Contains(long.problems, "the last message alone makes") || long.out != "" {
		t.Errorf("a question that does not fit: got %d %q %q", long.code, long.out, long.problems)
	}
}

func TestChatDownloadsAndLoads(t *testing.T) {
	qwenHub(t)
	home := t.TempDir()
	t.Setenv("SHAMMAH_HOME", home)
	got := say(t, []string{"What is the capital of France?", "/model"}, "--model", "qwen-1.5b", "--temperature", "0")
	if got.code != 0 || !strings.Contains(got.out, "Paris") {
		t.Errorf("got %d %q %q", got.code, got.out, got.problems)
	}
	at := 0
	for _, line := range []string{
		"⏳ Initializing Qwen2.5 model (background)...\n", "⏳ Downloading Qwen2.5-1.5B-Instruct (6 files, ", "⏳ Loading Qwen2.5-1.5B-Instruct...\n",
		"✓ ONNX session created with provider: CPU\n", "✓ Model ready for inference\n", "variant q4",
	} {
		n := strings.Index(got.problems[at:], line)
		if n < 0 {
			t.Fatalf("standard error\n%s\nlacks %q, or has it too early", got.problems, line)
		}
		at += n
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	if got := say(t, []string{"hello"}, "--model", "qwen-1.5b"); got.code != 0 || got.out == "" {
		t.Errorf("offline, with the model here: %d %q %q", got.code, got.out, got.problems)
	}
}

// The question may come before it is known that the model cannot: Claude then answers because it is being prepared.
func TestChatWhenTheModelCannotCome(t *testing.T) {
	for name, c := range map[string]struct {
		key, router string
		code        int
		out, says   string
		remote      int
	}{
		"Claude answers":      {claudetest.Canary, "auto", 0, "Paris.\n", "claude-sonnet-5-5 answers: Qwen2.5-1.5B-Instruct is ", 1},
		"there is no key":     {"", "auto", exitFailure, "", "nobody can answer: Qwen2.5-1.5B-Instruct is not available: ", 0},
		"only local":          {claudetest.Canary, "local", exitFailure, "", "the mode is local, and Qwen2.5-1.5B-Instruct is not available", 0},
		"only Claude":         {claudetest.Canary, "claude", 0, "Paris.\n", "⏳ Initializing Qwen2.5 model", 1}, // who may end before the model is known not to come
		"only Claude, no key": {"", "claude", exitFailure, "", "there is no API key", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, api := alone(t, claudetest.Answer("Paris", "."))
			t.Setenv("ANTHROPIC_API_KEY", c.key)
			t.Setenv("HF_HUB_OFFLINE", "1")
			got := say(t, []string{"What is the capital of France?"}, "--model", "qwen-1.5b", "--router", c.router)
			if got.code != c.code || got.out != c.out || !strings.Contains(got.problems, c.says) || len(api.Requests()) != c.remote {
				t.Errorf("got %d %q with %d requests\n%s\nwant %d %q with %d, and %q", got.code, got.out, len(api.Requests()), got.problems, c.code, c.out, c.remote, c.says)
			}
			if strings.Contains(got.out+got.problems, claudetest.Canary) {
				t.Errorf("the key is shown: %q", got.problems)
			}
		})
	}
}

// Another model takes the place of the first one; a name that nothing has changes nothing.
func TestChatChangesTheModel(t *testing.T) {
	alone(t)
	got := say(t, []string{"hello", "/model " + fixture(t, "a-fp32"), "hello", "/model"}, "--max-tokens", "4")
	if got.code != 0 || !strings.Contains(got.problems, "⏳ Loading a-fp32...") || !strings.Contains(got.problems, "model        a-fp32") {
		t.Errorf("got %d\n%s", got.code, got.problems)
	}
	if got := say(t, []string{"/model qwen-1.6b"}); got.code != exitFailure || !strings.Contains(got.problems, "qwen-1.5b") {
		t.Errorf("an unknown model: got %d %q", got.code, got.problems)
	}
}

func TestChatBadInput(t *testing.T) {
	alone(t)
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"hello"}, `chat takes no argument, found "hello"`},
		{exitUsage, []string{"--router", "remote"}, `"remote", expected auto, local or claude`},
		{exitUsage, []string{"--provider", "tpu"}, `"tpu"`},
		{exitFailure, []string{"--temperature", "-1"}, "temperature is -1"},
		{exitFailure, []string{"--max-tokens", "0"}, "--max-tokens is 0"},
		{exitFailure, []string{"--model", filepath.Join(t.TempDir(), "none")}, "none"},
	} {
		got := say(t, []string{"hello"}, c.args...)
		if got.code != c.code || !strings.Contains(lastLine(got.problems), c.want) || got.out != "" {
			t.Errorf("%q: got %d %q %q; want %d and %q", c.args, got.code, got.out, got.problems, c.code, c.want)
		}
	}
}

// Without arguments and without a terminal the program explains itself.
func TestNoArguments(t *testing.T) {
	got := command(t, "")
	if got.code != 0 || !strings.Contains(got.out, "COMMANDS:") {
		t.Errorf("got %d %q %q", got.code, got.out, got.problems)
	}
}

func TestFirstStart(t *testing.T) {
	home := t.TempDir()
	variables := map[string]string{"SHAMMAH_HOME": home}
	env := func(name string) string { return variables[name] }
	if !firstStart(env) {
		t.Error("an empty home is not a first start")
	}
	variables["SHAMMAH_MODEL"] = "tiny"
	if firstStart(env) {
		t.Error("a model that is named by a variable is a first start")
	}
	delete(variables, "SHAMMAH_MODEL")
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte("# nothing yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if firstStart(env) {
		t.Error("a home with a configuration file is a first start")
	}
	if firstStart(func(string) string { return "" }) {
		t.Error("who has no home is asked to set one up")
	}
}

func TestSmallerModel(t *testing.T) {
	for _, c := range []struct {
		name      string
		available int64
		want      string
	}{
		{"qwen-coder-3b", 4 << 30, "qwen-1.5b"},
		{"qwen-1.5b", 2 << 30, "qwen-0.5b"},
		{"onnx-community/Qwen2.5-1.5B-Instruct@main", 64 << 30, "qwen-0.5b"},
		{"qwen-1.5b", 500 << 20, tinyName},
		{"deepseek-14b", 20 << 30, "deepseek-7b"},
		{"smollm2-1.7b", 1 << 30, "smollm2-360m"},
		{"/some/folder", 64 << 30, tinyName},
		{"qwen-1.5b", 90 << 20, ""},
	} {
		if got := smaller(c.name, c.available); got != c.want {
			t.Errorf("%s with %d MiB: got %s, want %s", c.name, c.available>>20, got, c.want)
		}
	}
}
