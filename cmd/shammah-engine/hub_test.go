package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/hub"
	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

const hubCanary = "hf_canaryCANARYcanary0123456789"

// qwenHub is a hub that has the embedded model under a catalogue model's name, laid out as that one's repository; the
// environment leads to it and to an empty cache.
func qwenHub(t *testing.T) *hubtest.Hub {
	t.Helper()
	h := hubtest.New(t)
	files := map[string][]byte{"README.md": []byte("# a model\n")}
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.onnx"} {
		b, err := fs.ReadFile(tiny.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "model.onnx" {
			name = "onnx/model_q4.onnx"
		}
		files[name] = b
	}
	files["onnx/model.onnx"] = files["onnx/model_q4.onnx"]
	h.Add("onnx-community/Qwen2.5-1.5B-Instruct", "main", files)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", filepath.Join(t.TempDir(), "hub"))
	t.Setenv("HF_ENDPOINT", h.URL)
	t.Setenv("HF_TOKEN", hubCanary)
	for _, name := range []string{"HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, "")
	}
	return h
}

// want runs a command and checks its exit code, words of either stream, and that the token stays a secret.
func want(t *testing.T, code int, words string, args ...string) outcome {
	t.Helper()
	got := command(t, "", args...)
	if got.code != code || !strings.Contains(got.out+got.problems, words) {
		t.Errorf("%q: exit code %d with %q and %q; want %d and %q", args, got.code, got.out, got.problems, code, words)
	}
	if strings.Contains(got.out+got.problems, hubCanary) || strings.Contains(got.out+got.problems, "secret-of-the-address") {
		t.Errorf("%q shows a secret: %q %q", args, got.out, got.problems)
	}
	return got
}

// From nothing to a model that answers, and back to nothing.
func TestModelLife(t *testing.T) {
	qwenHub(t)
	want(t, 0, "No model is in the cache", "list")
	want(t, 1, "fetch it with: shammah-engine pull qwen-1.5b", "run", "--model", "qwen-1.5b", "hello")
	want(t, 1, "fetch it with: shammah-engine pull qwen-1.5b", "show", "qwen-1.5b")
	want(t, 0, "onnx/model_q4.onnx", "pull", "--dry-run", "qwen-1.5b")
	want(t, 0, "No model is in the cache", "list")
	want(t, 0, "qwen-1.5b is here. Run it: shammah-engine run --model qwen-1.5b\n", "pull", "qwen-1.5b")
	want(t, 0, "all here", "pull", "qwen-1.5b")
	want(t, 0, "onnx-community/Qwen2.5-1.5B-Instruct", "list")
	want(t, 0, "Paris", "run", "--model", "qwen-1.5b", "What is the capital of France?")
	want(t, 0, "layout A", "show", "qwen-1.5b")
	want(t, 0, "<|", "show", "qwen-1.5b", "--template")
	want(t, 0, "model_q4.onnx: ok", "verify", "qwen-1.5b")
	want(t, 0, "--variant fp32", "pull", "qwen-1.5b", "--variant", "fp32")
	want(t, 0, "0 B freed", "gc")
	want(t, 0, "is removed", "rm", "qwen-1.5b")
	want(t, 0, "No model is in the cache", "list")
	want(t, 1, "is not in the cache", "rm", "qwen-1.5b")
	want(t, 0, "Paris", "run", "--pull", "--model", "qwen-1.5b", "What is the capital of France?")
}

func TestVerifyFindsDamage(t *testing.T) {
	qwenHub(t)
	want(t, 0, "is here", "pull", "qwen-1.5b")
	dir, err := hub.Resolve("qwen-1.5b", hub.Environment(os.Getenv))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "onnx", "model_q4.onnx"), []byte("short"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, 1, "model_q4.onnx: damaged: its hash is", "verify")
	want(t, 0, "is here", "pull", "qwen-1.5b")
	want(t, 0, "ok", "verify")
}

// The question before a download takes one line of the input, and leaves the rest to the conversation.
func TestConfirm(t *testing.T) {
	refused := errors.New("refused")
	tests := []struct {
		input, rest string
		want        error
	}{
		{"y\nhello", "hello", nil}, {"\nhello", "hello", nil}, {"Yes \n", "", nil}, {"yes", "", nil},
		{"n\nhello", "hello", refused}, {"what?\n", "", refused}, {"", "", errInterrupted},
	}
	for _, test := range tests {
		in, out := strings.NewReader(test.input), &strings.Builder{}
		err := confirm(t.Context(), in, out, "qwen-1.5b", refused)
		rest, _ := io.ReadAll(in)
		if !errors.Is(err, test.want) || string(rest) != test.rest || !strings.Contains(out.String(), "qwen-1.5b is not here") {
			t.Errorf("%q: got %v, %q left, %q; want %v, %q", test.input, err, rest, out, test.want, test.rest)
		}
	}
}

// Weights beside the graph are found and opened through the cache's links, in each layout.
func TestPulledModelsRun(t *testing.T) {
	system, user, answer := question(t)
	for _, layout := range []string{"a-fp32", "b-int4", "b-fp32", "c-fp32"} {
		h := qwenHub(t)
		files := map[string][]byte{}
		root := os.DirFS(fixture(t, layout))
		if err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files[name], err = fs.ReadFile(root, name)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		h.Add("owner/"+layout, "v1", files)
		want(t, 1, "E_DL_REVISION", "pull", "owner/"+layout)
		want(t, 0, "is here", "pull", "owner/"+layout+"@v1")
		got := want(t, 0, "", "run", "--model", "owner/"+layout+"@v1", "--temperature", "0", "--repetition-penalty", "1", "--max-tokens", "24", "--system", system, user)
		if layout != "b-int4" && !strings.HasPrefix(answer, strings.TrimSuffix(got.out, "\n")) {
			t.Errorf("%s: got %q, want the beginning of %q", layout, got.out, answer)
		}
	}
}

func TestPullJSON(t *testing.T) {
	qwenHub(t)
	got := want(t, 0, "", "pull", "--json", "qwen-1.5b")
	var kinds []string
	for line := range strings.Lines(got.out) {
		var e struct {
			Event string
			Total int64
			Dir   string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		kinds = append(kinds, e.Event)
		if e.Event == "finished" && (e.Total == 0 || e.Dir == "") {
			t.Errorf("got %q", line)
		}
	}
	if kinds[0] != "plan" || kinds[len(kinds)-1] != "finished" {
		t.Errorf("got the events %v", kinds)
	}
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	got = want(t, 1, "E_DL_CONNECT", "pull", "--json", "qwen-0.5b")
	if strings.Count(got.problems, "\n") != 1 {
		t.Errorf("more than a line: %q", got.problems)
	}
}

func TestModelCommandsUsage(t *testing.T) {
	qwenHub(t)
	for _, args := range [][]string{{"pull"}, {"pull", "a", "b"}, {"pull", "--variannt", "x", "tiny"}, {"pull", "--provider", "x", "qwen-1.5b"}, {"show"}, {"rm"}, {"gc", "x"},
		{"models", "x"}, {"list", "x"}, {"show", "tiny", "--context", "-1"}} {
		want(t, 2, "", args...)
	}
	want(t, 1, "did you mean qwen-1.5b?", "pull", "qwen-1.5")
	want(t, 1, "inside the program", "pull", "tiny")
	want(t, 1, "inside the program", "verify", "tiny")
	want(t, 0, "inside the program", "models")
	want(t, 0, `"alias":"qwen-1.5b"`, "models", "--json")
	want(t, 0, "[]", "list", "--json")
	if got := want(t, 0, "nothing to verify. No model is in the cache", "verify", "--json"); got.out != "" {
		t.Errorf("verify --json of an empty cache: got %q, want no line", got.out)
	}
}
