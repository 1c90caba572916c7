package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/internal/config"
)

// ownHome is an empty home folder, without any variable that changes a setting.
func ownHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "SHAMMAH_") || name == "ANTHROPIC_API_KEY" {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HF_HUB_CACHE", filepath.Join(home, "hub"))
	return home
}

func writeConfig(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Flag, variable, file and default: for each setting the strongest that is there decides what the program does.
func TestSettingsPrecedence(t *testing.T) {
	file, environment, flag := fixture(t, "b-fp32"), fixture(t, "a-fp32"), fixture(t, "c-fp32")
	inFile := fmt.Sprintf("[model]\nrepo = %q\nthreads = 2\n[generation]\nmax_tokens = 3\ntemperature = 0\n", file)
	tests := []struct {
		name, file string
		env        map[string]string
		args       []string
		model      string
		threads    string
		tokens     int
	}{
		{"file", inFile, nil, nil, "b-fp32", "2 threads", 3},
		{"variables over the file", inFile, map[string]string{"SHAMMAH_MODEL": environment, "SHAMMAH_THREADS": "1", "SHAMMAH_GENERATION_MAX_TOKENS": "4"}, nil, "a-fp32", "1 threads", 4},
		{"flags over both", inFile, map[string]string{"SHAMMAH_MODEL": environment, "SHAMMAH_THREADS": "1", "SHAMMAH_GENERATION_MAX_TOKENS": "4"},
			[]string{"--model", flag, "-t", "3", "-n", "5"}, "c-fp32", "3 threads", 5},
		{"an empty variable is none", inFile, map[string]string{"SHAMMAH_MODEL": "", "SHAMMAH_THREADS": ""}, nil, "b-fp32", "2 threads", 3},
		{"path over repo", fmt.Sprintf("[model]\nrepo = %q\npath = %q\n[generation]\nmax_tokens = 2\n", file, environment), nil, nil, "a-fp32", "", 2},
		{"variable over path", fmt.Sprintf("[model]\npath = %q\n[generation]\nmax_tokens = 2\n", file), map[string]string{"SHAMMAH_MODEL": environment}, nil, "a-fp32", "", 2},
		{"the variant of the file is not for another model", fmt.Sprintf("[model]\nrepo = %q\nvariant = \"q4\"\n[generation]\nmax_tokens = 2\n", file), nil, []string{"--model", environment}, "a-fp32", "", 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			home := ownHome(t)
			writeConfig(t, filepath.Join(home, ".shammah", "config.toml"), test.file)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got := command(t, "", append([]string{"run", "--json", "--ignore-eos", "hello"}, test.args...)...)
			var r result
			if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 {
				t.Fatalf("got %d %q %q: %v", got.code, got.out, got.problems, err)
			}
			if r.Model != test.model || r.GeneratedTokens != test.tokens || !strings.Contains(got.problems, test.threads) {
				t.Errorf("got %s, %d tokens, %q; want %s, %d, %q", r.Model, r.GeneratedTokens, got.problems, test.model, test.tokens, test.threads)
			}
		})
	}
}

// With no setting at all the model inside the program answers.
func TestDefaultModel(t *testing.T) {
	ownHome(t)
	if got := command(t, "", "run", "What is the capital of France?"); got.code != 0 || !strings.Contains(got.out, "Paris") {
		t.Errorf("got %d %q %q, want Paris", got.code, got.out, got.problems)
	}
}

// --config and its variable name another file, wherever the flag stands.
func TestConfigFlag(t *testing.T) {
	home := ownHome(t)
	writeConfig(t, filepath.Join(home, ".shammah", "config.toml"), "[generation]\nsystem = \"from home\"\n")
	other := filepath.Join(home, "other.toml")
	writeConfig(t, other, "[generation]\nsystem = \"from the other\"\n")
	third := filepath.Join(home, "third.toml")
	writeConfig(t, third, "[generation]\nsystem = \"from the third\"\n")
	want(t, 0, "from home", "config", "get", "generation.system")
	t.Setenv("SHAMMAH_CONFIG", third)
	want(t, 0, "from the third", "config", "get", "generation.system")
	for _, args := range [][]string{
		{"--config", other, "config", "get", "generation.system"}, {"config", "--config", other, "get", "generation.system"},
		{"config", "get", "generation.system", "--config=" + other}, {"config", "get", "--config", other, "--", "generation.system"},
	} {
		want(t, 0, "from the other", args...)
	}
	want(t, 1, filepath.Join(home, "none.toml"), "--config", filepath.Join(home, "none.toml"), "run", "hello")
}

func TestConfigCommands(t *testing.T) {
	home := ownHome(t)
	path := filepath.Join(home, ".shammah", "config.toml")
	const secret = "sk-ant-canaryCANARYcanary"
	want(t, 0, path, "config", "path")
	if _, err := os.Stat(path); err == nil {
		t.Error("config path made the file")
	}
	want(t, 0, "", "config", "set", "model.repo", "qwen-1.5b", "generation.temperature", "0.5", "claude.api_key", secret)
	if info, err := os.Stat(path); err != nil {
		t.Error(err)
	} else if info.Mode().Perm() != 0o600 {
		t.Errorf("the file with a key has the mode %v, want 0600", info.Mode())
	}
	t.Setenv("SHAMMAH_PROVIDER", "cpu")
	show := want(t, 0, "", "config", "show")
	for _, line := range [][]string{
		{"model.repo", "qwen-1.5b", path + ",", "line", "2"}, {"model.backend", "cpu", "SHAMMAH_PROVIDER"}, {"router.mode", "auto", "default"},
		{"generation.temperature", "0.5", path + ",", "line", "5"}, {"claude.api_key", "********", path + ",", "line", "8"}, {"generation.top_p", "-", "default"},
	} {
		if !slices.ContainsFunc(strings.Split(show.out, "\n"), func(l string) bool { return slices.Equal(strings.Fields(l), line) }) {
			t.Errorf("config show lacks %q:\n%s", line, show.out)
		}
	}
	var lines []config.Line
	asJSON := want(t, 0, "", "config", "show", "--json")
	if err := json.Unmarshal([]byte(asJSON.out), &lines); err != nil || len(lines) != strings.Count(show.out, "\n")-1 {
		t.Errorf("got %d lines, %v; want those of config show", len(lines), err)
	}
	masked := want(t, 0, "********\n", "config", "get", "claude.api_key")
	for _, text := range []string{show.out, asJSON.out, masked.out} {
		if strings.Contains(text, secret) {
			t.Errorf("the key is shown: %q", text)
		}
	}
	want(t, 0, "note: SHAMMAH_PROVIDER is set, and wins over model.backend", "config", "set", "model.backend", "auto")
	want(t, 0, "", "config", "set", "--", "generation.seed", "-1")
	want(t, 0, "18446744073709551615\n", "config", "get", "generation.seed")

	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		code  int
		words string
		args  []string
	}{
		{2, "did you mean model.repo", []string{"config", "get", "model.rep"}},
		{1, "did you mean model.repo", []string{"config", "set", "model.rep", "x"}},
		{1, "expected one of auto, cpu, cuda, coreml", []string{"config", "set", "model.backend", "tpu"}},
		{1, "temperature", []string{"config", "set", "--", "generation.temperature", "-1"}},
		{2, "a key and its value", []string{"config", "set", "model.repo"}},
		{2, "twice", []string{"config", "set", "model.repo", "a", "model.repo", "b"}},
		{2, "expected one key", []string{"config", "get"}},
		{2, "expected show, path, get or set", []string{"config", "frob"}},
		{2, "expected show, path, get or set", []string{"config"}},
		{2, "shammah-engine config show --help", []string{"config", "show", "--frob"}},
	} {
		if got := want(t, test.code, test.words, test.args...); got.out != "" || strings.Count(got.problems, "\n") != 1 {
			t.Errorf("%q: got %q and %q, want one line of trouble", test.args, got.out, got.problems)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("refused changes left %q, %v; want %q", after, err, before)
	}
}

// Models are where the variables say, else where the file says.
func TestCacheFolder(t *testing.T) {
	home := ownHome(t)
	path := filepath.Join(home, ".shammah", "config.toml")
	writeConfig(t, path, "[cache]\ndir = \"/from/the/file\"\n")
	for _, name := range []string{"HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE"} {
		t.Setenv(name, "")
	}
	want(t, 0, "in the cache /from/the/file.", "list")
	t.Setenv("HF_HUB_CACHE", "/from/the/hub")
	want(t, 0, "in the cache /from/the/hub.", "list")
	t.Setenv("SHAMMAH_CACHE_DIR", "/from/a/variable")
	want(t, 0, "in the cache /from/a/variable.", "list")
	t.Setenv("SHAMMAH_CACHE_DIR", "")
	writeConfig(t, path, "[cache\n")
	want(t, 0, "warning: config: read "+path, "list")
}

func TestReorder(t *testing.T) {
	app := &cli.App{Flags: []cli.Flag{configFlag()}, Commands: []*cli.Command{runCommand(), configCommand()}}
	for _, test := range []struct{ args, want string }{
		{"p", "p"},
		{"p run", "p run --"},
		{"p run hi --seed 7 there --json", "p run --seed 7 --json -- hi there"},
		{"p run hi --seed=7 there", "p run --seed=7 -- hi there"},
		{"p run -- --seed 7", "p run -- --seed 7"},
		{"p run --config f hi", "p --config f run -- hi"},
		{"p --config=f run hi", "p --config=f run -- hi"},
		{"p --config f", "p --config f"},
		{"p run config show", "p run -- config show"},
		{"p config show --json", "p config show --json --"},
		{"p config --json show", "p config show --json --"},
		{"p config set a --config f b", "p --config f config set -- a b"},
		{"p config get --generate-bash-completion", "p config get --generate-bash-completion"},
		{"p rum --seed 7", "p rum --seed 7"},
	} {
		if got := strings.Join(reorder(app, strings.Fields(test.args)), " "); got != test.want {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
	}
}
