package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/claude/claudetest"
	"github.com/shammah/shammah-engine/ort"
)

// alone is an environment in which the program finds no configuration, no model and no key, and a Messages API with these steps.
func alone(t *testing.T, steps ...claudetest.Step) (home string, api *claudetest.API) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SHAMMAH_HOME", home)
	t.Setenv("HF_HUB_CACHE", filepath.Join(home, "hub"))
	for _, name := range []string{"ANTHROPIC_API_KEY", "SHAMMAH_MODEL", "SHAMMAH_PROVIDER", "SHAMMAH_ROUTER_MODE", "SHAMMAH_CONFIG", "HF_ENDPOINT", "HF_HOME"} {
		t.Setenv(name, "")
	}
	api = claudetest.New(steps...)
	t.Setenv("SHAMMAH_CLAUDE_BASE_URL", api.Serve(t))
	return home, api
}

// ask runs the program and searches what it says for the key.
func ask(t *testing.T, args ...string) outcome {
	t.Helper()
	got := command(t, "", args...)
	if strings.Contains(got.out+got.problems, claudetest.Canary) {
		t.Errorf("%q shows the key: %q %q", args, got.out, got.problems)
	}
	if got.code != 0 && strings.Count(got.problems, "shammah-engine: ") != 1 {
		t.Errorf("%q: the failure is not one line: %q", args, got.problems)
	}
	return got
}

func TestQueryRoutes(t *testing.T) {
	whole := claudetest.Answer("Paris", ".")
	small := []string{"--model", fixture(t, "b-fp32"), "--temperature", "0", "--max-tokens", "4", "--ignore-eos"}
	for _, c := range []struct {
		name   string
		key    string
		args   []string
		step   claudetest.Step
		code   int
		out    string // exactly, unless it is "*", which is any
		says   []string
		remote int
	}{
		{"the model here answers", claudetest.Canary, append([]string{"--verbose", "hello"}, small...), whole,
			0, "*", []string{"b-fp32 on this machine answers: b-fp32 is ready and the prompt fits"}, 0},
		{"the model here answers without a key", "", append([]string{"hello"}, small...), whole, 0, "*", []string{"CPU"}, 0},
		{"a model that is not here goes to Claude", claudetest.Canary, []string{"--model", "qwen-1.5b", "capital of France?"}, whole,
			0, "Paris.\n", []string{"Claude (claude-sonnet-5-5) answers: qwen-1.5b is not available: ", "not found on this machine"}, 1},
		{"nothing here and no key", "", []string{"--model", "qwen-1.5b", "hello"}, whole,
			1, "", []string{"nobody can answer: qwen-1.5b is not available", "there is no API key; set ANTHROPIC_API_KEY or run `shammah-engine setup` (E_CLAUDE_KEY)"}, 0},
		{"nothing here and local", claudetest.Canary, []string{"--router", "local", "--model", "qwen-1.5b", "hello"}, whole,
			1, "", []string{"nobody can answer: the mode is local, and qwen-1.5b is not available"}, 0},
		{"a mistyped model is not Claude's business", claudetest.Canary, []string{"--model", "qwen-1.5", "hello"}, whole,
			1, "", []string{"did you mean qwen-1.5b?"}, 0},
		{"a prompt that does not fit goes to Claude", claudetest.Canary, append([]string{"--context", "16", strings.Repeat("word ", 100)}, small...), whole,
			0, "Paris.\n", []string{"Claude (claude-sonnet-5-5) answers: the prompt does not fit b-fp32: ", "the context holds 16"}, 1},
		{"a prompt that does not fit and no key", "", append([]string{"--context", "16", strings.Repeat("word ", 100)}, small...), whole,
			1, "", []string{"nobody can answer: the prompt does not fit b-fp32", "E_CLAUDE_KEY"}, 0},
		{"a prompt that is cut fits", claudetest.Canary, append([]string{"--context", "16", "--overflow", "truncate", strings.Repeat("word ", 100)}, small...), whole,
			0, "*", []string{"tokens did not fit"}, 0},
		{"a model that cannot be loaded goes to Claude", claudetest.Canary, []string{"--model", t.TempDir(), "hello"}, whole,
			0, "Paris.\n", []string{"Claude (claude-sonnet-5-5) answers: ", "could not be loaded"}, 1},
		{"claude alone loads nothing", claudetest.Canary, append([]string{"--router", "claude", "hello"}, small...), whole,
			0, "Paris.\n", []string{"answers: the mode is claude"}, 1},
		{"claude alone without a key", "", []string{"--router", "claude", "hello"}, whole, 1, "", []string{"nobody can answer: the mode is claude, and claude: there is no API key"}, 0},
		{"F: a bad key is no answer", claudetest.Canary, []string{"--router", "claude", "hello"}, claudetest.Status(401, "authentication_error", "invalid x-api-key "+claudetest.Canary),
			1, "", []string{"the API key was refused: invalid x-api-key [key]", "E_CLAUDE_AUTH"}, 1},
		{"F: a stream that breaks keeps its text and fails", claudetest.Canary, []string{"--router", "claude", "hello"},
			claudetest.Then(claudetest.Stream(claudetest.Start(1), claudetest.Delta("Par")), claudetest.Cut),
			1, "Par\n", []string{"the answer broke off: claude: ", "E_CLAUDE_BROKEN"}, 1},
		{"a refusal is said", claudetest.Canary, []string{"--router", "claude", "hello"}, claudetest.Stream(claudetest.Start(1), claudetest.End("refusal", 1)),
			0, "", []string{"Claude declined to answer"}, 1},
		{"the limit is said", claudetest.Canary, []string{"--router", "claude", "--stats", "hello"}, claudetest.Stream(claudetest.Start(9), claudetest.Delta("x"), claudetest.End("max_tokens", 8)),
			0, "x\n", []string{"the answer has reached 8 tokens", "prompt 9 tokens · answer 8 tokens · ended by length"}, 1},
		{"unknown mode", claudetest.Canary, []string{"--router", "remote", "hello"}, whole, 2, "", []string{`the mode is "remote", expected auto, local or claude`}, 0},
		{"bad flag is seen before anything is sent", claudetest.Canary, []string{"--router", "claude", "--temperature", "warm", "hello"}, whole, 2, "", []string{`--temperature is "warm"`}, 0},
		{"bad number too", claudetest.Canary, []string{"--router", "claude", "--temperature", "-1", "hello"}, whole, 1, "", []string{"temperature"}, 0},
		{"no prompt", claudetest.Canary, nil, whole, 2, "", []string{"there is no prompt"}, 0},
		{"verbose shows no key", claudetest.Canary, []string{"--router", "claude", "--verbose", "hello"}, claudetest.Status(400, "invalid_request_error", "bad "+claudetest.Canary), 1, "", []string{"bad [key]"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, api := alone(t, c.step)
			t.Setenv("ANTHROPIC_API_KEY", c.key)
			got := ask(t, append([]string{"query"}, c.args...)...)
			if got.code != c.code || c.out != "*" && got.out != c.out || c.out == "*" && got.out == "" {
				t.Errorf("got %d %q\nwant %d %q\nstandard error: %s", got.code, got.out, c.code, c.out, got.problems)
			}
			for _, words := range c.says {
				if !strings.Contains(got.problems, words) {
					t.Errorf("standard error %q\ndoes not say %q", got.problems, words)
				}
			}
			if n := len(api.Requests()); n != c.remote {
				t.Errorf("%d requests were sent, want %d", n, c.remote)
			}
		})
	}
}

// With nothing downloaded, no configuration and no key, the model inside the program answers.
func TestQueryFromNothing(t *testing.T) {
	alone(t, claudetest.Answer("never"))
	got := ask(t, "query", "--max-tokens", "3", "hello")
	if got.code != 0 || got.out == "" || !strings.Contains(got.problems, "CPU") {
		t.Errorf("got %d %q, %q", got.code, got.out, got.problems)
	}
}

// Without the native library there is still Claude.
func TestQueryWithoutTheLibrary(t *testing.T) {
	_, api := alone(t, claudetest.Answer("Paris"))
	t.Setenv("ANTHROPIC_API_KEY", claudetest.Canary)
	t.Setenv(ort.LibraryVariable, filepath.Join(t.TempDir(), "none"))
	var out, problems strings.Builder
	code := run(t.Context(), []string{"shammah-engine", "query", "hello"}, strings.NewReader(""), &out, &problems)
	if code != 0 || out.String() != "Paris\n" || !strings.Contains(problems.String(), "could not be loaded: ") || len(api.Requests()) != 1 {
		t.Errorf("got %d %q, %q", code, out.String(), problems.String())
	}
}

func TestQueryJSON(t *testing.T) {
	for _, c := range []struct {
		name string
		step claudetest.Step
		args []string
		code int
		want queried
	}{
		{"claude", claudetest.Answer("Paris", "."), []string{"--router", "claude"}, 0,
			queried{By: "claude", Why: "the mode is claude", Model: "claude-sonnet-5-5", Text: "Paris.", Finish: "stop", PromptTokens: 25, GeneratedTokens: 2}},
		{"broken", claudetest.Then(claudetest.Stream(claudetest.Start(1), claudetest.Delta("Par")), claudetest.Cut), []string{"--router", "claude"}, 1,
			queried{By: "claude", Why: "the mode is claude", Model: "claude-sonnet-5-5", Text: "Par", Finish: "error", Broken: true, Error: "*"}},
		{"failed at once", claudetest.Status(400, "invalid_request_error", "no"), []string{"--router", "claude"}, 1,
			queried{By: "claude", Why: "the mode is claude", Model: "claude-sonnet-5-5", Finish: "error", Error: "*"}},
		{"local", claudetest.Answer("never"), []string{"--model", fixture(t, "b-fp32"), "--temperature", "0", "--max-tokens", "2", "--ignore-eos"}, 0,
			queried{By: "local", Why: "b-fp32 is ready and the prompt fits", Model: "b-fp32", Provider: "CPU", Text: "*", Finish: "length", PromptTokens: -1, GeneratedTokens: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			alone(t, c.step)
			t.Setenv("ANTHROPIC_API_KEY", claudetest.Canary)
			got := ask(t, append([]string{"query", "--json", "hello"}, c.args...)...)
			var r queried
			if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != c.code {
				t.Fatalf("got %d %q %q: %v", got.code, got.out, got.problems, err)
			}
			if c.want.Error == "*" && r.Error != "" {
				r.Error = "*"
			}
			if c.want.Text == "*" && r.Text != "" {
				r.Text = "*"
			}
			if c.want.PromptTokens < 0 && r.PromptTokens > 0 {
				r.PromptTokens = c.want.PromptTokens
			}
			if !reflect.DeepEqual(r, c.want) {
				t.Errorf("got %+v\nwant %+v", r, c.want)
			}
		})
	}
}

// The configuration file says which model and which Claude; flags win over it.
func TestQueryReadsTheConfiguration(t *testing.T) {
	home, api := alone(t, claudetest.Answer("Paris"))
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SHAMMAH_CLAUDE_BASE_URL", "")
	base := strings.TrimSpace(api.Serve(t))
	claudeSection := "[claude]\napi_key = '" + claudetest.Canary + "'\nmodel = 'claude-x'\nbase_url = '" + base + "'\n"

	write("[model]\nfamily = 'qwen2.5'\nsize = 'medium'\n[generation]\nsystem = 'Be brief'\nmax_tokens = 77\nstop = ['END']\n" + claudeSection)
	got := ask(t, "query", "hello")
	if got.code != 0 || !strings.Contains(got.problems, "Claude (claude-x) answers: qwen-1.5b is not available") {
		t.Fatalf("got %d %q %q", got.code, got.out, got.problems)
	}
	for _, words := range []string{`"model":"claude-x"`, `"max_tokens":77`, `"Be brief"`, `"END"`} {
		if body := api.Requests()[0].Body; !strings.Contains(body, words) {
			t.Errorf("the request %s has no %s", body, words)
		}
	}

	write("[router]\nmode = 'claude'\n[model]\npath = '" + fixture(t, "b-fp32") + "'\n[generation]\ntemperature = 0\nmax_tokens = 0\n" + claudeSection)
	if got := ask(t, "query", "--router", "local", "--max-tokens", "2", "--ignore-eos", "hello"); got.code != 0 || !strings.Contains(got.problems, "b-fp32") {
		t.Errorf("a flag against the file: got %d %q %q", got.code, got.out, got.problems)
	}
	if got := ask(t, "query", "hello"); got.code != 0 || got.out != "Paris\n" {
		t.Errorf("the file's mode: got %d %q %q", got.code, got.out, got.problems)
	}

	write("[model]\nrepo = 'qwen-1.5b'\n" + claudeSection + "enabled = false\n")
	if got := ask(t, "query", "hello"); got.code != 1 || !strings.Contains(got.problems, "the configuration switches Claude off") {
		t.Errorf("switched off: got %d %q %q", got.code, got.out, got.problems)
	}
	write("[model]\nfamily = 'gpt'\n" + claudeSection)
	if got := ask(t, "query", "hello"); got.code != 1 || !strings.Contains(got.problems, `the family "gpt"`) {
		t.Errorf("unknown family: got %d %q %q", got.code, got.out, got.problems)
	}
	write("[modle]\n")
	if got := ask(t, "query", "hello"); got.code != 1 || !strings.Contains(got.problems, "modle") {
		t.Errorf("K, unknown key: got %d %q %q", got.code, got.out, got.problems)
	}
}
