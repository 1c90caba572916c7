package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// tinyShapes are some of the embedded model's matrices: inputs and outputs.
var tinyShapes = map[string][2]int{"self_attn.q_proj": {256, 256}, "self_attn.v_proj": {256, 128}, "mlp.down_proj": {704, 256}}

// tinyAdapter writes an adapter of rank 2 for layers of the embedded model.
func tinyAdapter(t *testing.T, layers int) string {
	t.Helper()
	const rank = 2
	header, data := map[string]any{}, []byte{}
	add := func(name string, rows, columns int) {
		from := len(data)
		for i := range rows * columns {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i*i%11-4)/16))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": []int{rows, columns}, "data_offsets": []int{from, len(data)}}
	}
	for layer := range layers {
		for kind, shape := range tinyShapes {
			module := fmt.Sprintf("base_model.model.model.layers.%d.%s", layer, kind)
			add(module+".lora_A.weight", rank, shape[0])
			add(module+".lora_B.weight", shape[1], rank)
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
	for name, content := range map[string][]byte{lora.WeightsFile: file, lora.ConfigFile: []byte(`{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "some/other"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoraKeepsAdapters(t *testing.T) {
	home, _ := alone(t)
	adapter := tinyAdapter(t, 2)
	for _, step := range []struct {
		code int
		word string
		args []string
	}{
		{0, "No adapter is in " + filepath.Join(home, "adapters"), []string{"list"}},
		{0, "[]\n", []string{"list", "--json"}},
		{0, "x is here: rank 2, 6 matrices", []string{"add", "x", "--base", "tiny", adapter}},
		{0, `note: its files say that it was trained on "some/other"`, []string{"add", "y", filepath.Join(adapter, lora.WeightsFile), "--base", "tiny"}},
		{exitFailure, "the name is taken", []string{"add", "x", adapter, "--base", "tiny"}},
		{exitUsage, "expected a name and a path", []string{"add", "x"}},
		{exitUsage, `--base is missing: name the model that the adapter is for; its files say that it was trained on "some/other"`, []string{"add", "z", adapter}},
		{exitUsage, "expected at most 64 small letters", []string{"add", "../z", adapter, "--base", "tiny"}},
		{exitUsage, "it means no adapter; choose another", []string{"add", "off", adapter, "--base", "tiny"}},
		{exitUsage, "it would be taken for a file's; leave out .safetensors", []string{"add", "z.safetensors", adapter, "--base", "tiny"}},
		{exitFailure, "no such file", []string{"add", "z", filepath.Join(home, "nowhere"), "--base", "tiny"}},
		{exitFailure, `find model "nomodel"`, []string{"add", "z", adapter, "--base", "nomodel"}},
		{exitFailure, "the adapter is for another model", []string{"add", "z", adapter, "--base", fixture(t, "b-int4")}},
		{exitFailure, "bad adapter: the graph has no module \"model.layers.6.", []string{"add", "z", tinyAdapter(t, 7), "--base", "tiny"}},
		{0, "ADAPTER  FOR   RANK  MATRICES", []string{"ls"}},
		{0, "down_proj in 2 places, q_proj in 2 places, v_proj in 2 places", []string{"show", "x"}},
		{0, `"scales":[2]`, []string{"show", "x", "--json"}},
		{exitFailure, "there is no adapter of that name; `shammah-engine lora list`", []string{"show", "nope"}},
		{exitUsage, "expected the name of an adapter", []string{"show"}},
		{0, "x is removed", []string{"rm", "x"}},
		{exitFailure, "there is no adapter of that name", []string{"rm", "x"}},
		{exitUsage, `there is no command "frob"`, []string{"frob"}},
	} {
		want(t, step.code, step.word, append([]string{"lora"}, step.args...)...)
	}
	if entries, err := os.ReadDir(filepath.Join(home, "adapters")); err != nil || len(entries) != 1 || entries[0].Name() != "y" {
		t.Errorf("the store holds %v, %v; want y alone", entries, err)
	}
}

// What --lora names is found before a model is opened.
func TestLoraFlagIsChecked(t *testing.T) {
	home, _ := alone(t)
	for _, name := range []string{"run", "query", "bench", "chat"} {
		var prompt []string
		if name == "run" || name == "query" {
			prompt = []string{"hi"}
		}
		for word, code := range map[string]int{"nope": exitFailure, "a:b": exitUsage, "Big": exitUsage, "./nowhere": exitFailure} {
			got := command(t, "", append([]string{name, "--model", "tiny", "--lora", word}, prompt...)...)
			if got.code != code || got.out != "" || strings.Contains(got.problems, "threads") || !strings.Contains(got.problems, "shammah-engine: ") {
				t.Errorf("%s --lora %s: got %d %q %q, want %d", name, word, got.code, got.out, got.problems, code)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte("[model]\nrepo = \"tiny\"\nlora = [\"nope\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitFailure, "find nope", "run", "hi")
	if got := command(t, "", "run", "--model", "tiny", "-n", "1", "hi"); got.code != 0 {
		t.Errorf("another model has the configured one's adapters: %d %q", got.code, got.problems)
	}
}

func TestLoraCompletion(t *testing.T) {
	alone(t)
	want(t, 0, "x is here", "lora", "add", "x", tinyAdapter(t, 1), "--base", "tiny")
	for _, line := range [][]string{{"lora", "show"}, {"lora", "rm"}, {"run", "--lora"}, {"chat", "--lora"}} {
		args := append(append([]string{"shammah-engine"}, line...), "--generate-bash-completion")
		before := os.Args
		os.Args = args // where the flag library looks for the word before
		var out, problems bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &problems)
		os.Args = before
		if code != 0 || out.String() != "x\n" {
			t.Errorf("%q is completed with %q, code %d, %s", line, out.String(), code, problems.String())
		}
	}
}

// fakePython trains nothing: it copies an adapter. What it was given is in its folder's file args.
func fakePython(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python")
	text := "#!/bin/sh\nif [ \"$1\" = -c ]; then exit 0; fi\nfor out; do :; done\necho \"$@\" > '" + path + ".args'\n" + body
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoraTrain(t *testing.T) {
	home, _ := alone(t)
	data := filepath.Join(home, "data.jsonl")
	if err := os.WriteFile(data, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := fakePython(t, "echo 'train: 1 line' >&2\necho '{\"step\":1,\"steps\":1,\"loss\":2.5}'\ncp -r '"+tinyAdapter(t, 1)+"' \"$out\"\necho \"{\\\"done\\\":\\\"$out\\\"}\"\n")
	train := func(args ...string) []string {
		return append([]string{"lora", "train", "--python", good, "--base", "tiny"}, args...)
	}
	want(t, exitUsage, "expected --data FILE or --feedback, one of the two", train("x")...)
	want(t, exitUsage, "one of the two", train("x", "--feedback", "--data", data)...)
	want(t, exitUsage, "--steps is -1, expected a positive number", train("x", "--data", data, "--steps", "-1")...)
	want(t, exitUsage, `--rate is "NaN"`, train("x", "--data", data, "--rate", "NaN")...)
	want(t, exitUsage, `--seed is "x"`, train("x", "--data", data, "--seed", "x")...)
	want(t, exitUsage, "--base is missing", "lora", "train", "x", "--data", data)
	want(t, exitFailure, "no such file", train("x", "--data", "nowhere")...)
	want(t, exitFailure, "/good and /correct TEXT note it in a conversation", train("x", "--feedback")...)
	want(t, exitFailure, "install Python 3.11 or newer", "lora", "train", "x", "--base", "tiny", "--data", data, "--python", "/nowhere/python")
	want(t, exitFailure, "training: train: no room", "lora", "train", "x", "--base", "tiny", "--data", data, "--python", fakePython(t, "echo 'train: no room' >&2; exit 1"))

	got := want(t, 0, "x is here: rank 2, 3 matrices", train("x", "--data", data, "--steps", "7", "--rate", "1e-3")...)
	for _, line := range []string{"train: 1 line\n", "step 1 of 1, loss 2.500\n"} { // of two streams, in either order
		if !strings.Contains(got.problems, line) || strings.Count(got.problems, "\n") != 2 {
			t.Errorf("standard error is %q, want two lines with %q", got.problems, line)
		}
	}
	args, err := os.ReadFile(good + ".args")
	if err != nil || !strings.Contains(string(args), " --data "+data+" --steps=7 --rate=1e-3 --out ") {
		t.Errorf("the script got %q, %v", args, err)
	}
	want(t, exitFailure, "the name is taken", train("x", "--data", data)...)

	if got := say(t, []string{"Hi", "/good", "/bad", "/good", "Hello", "/correct Ahoy!", "/bad"}, "--model", "tiny", "-n", "2"); got.code != 0 || strings.Contains(got.problems, "✗") {
		t.Errorf("the conversation: %d %q", got.code, got.problems)
	}
	feedback := filepath.Join(home, "feedback.jsonl")
	if f, err := os.OpenFile(feedback, os.O_APPEND|os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	} else if _, err := f.WriteString(`{"weight": 3, "mess`); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	want(t, 0, "learning from 2 answers that you judged", train("y", "--feedback")...)
	if entries, err := os.ReadDir(filepath.Join(home, "adapters")); err != nil || len(entries) != 2 {
		t.Errorf("the store holds %v, %v; want x and y alone", entries, err)
	}
}

// An adapter changes the answer, by name and by path, and without it the answer is the old one again.
func TestLoraIsUsed(t *testing.T) {
	alone(t)
	adapter := tinyAdapter(t, 6)
	want(t, 0, "x is here", "lora", "add", "x", adapter, "--base", "tiny")
	answer := func(args ...string) string {
		t.Helper()
		got := command(t, "", append(append([]string{"run", "--model", "tiny", "--temperature", "0", "-n", "12"}, args...), "What is the capital of France?")...)
		if got.code != 0 {
			t.Errorf("%q: %d %q", args, got.code, got.problems)
		}
		return got.out
	}
	plain, changed := answer(), answer("--lora", "x")
	if plain == changed || !strings.Contains(plain, "Paris") {
		t.Errorf("without the adapter %q, with it %q", plain, changed)
	}
	if byPath := answer("--lora", adapter+":1"); byPath != changed {
		t.Errorf("by its path %q, by its name %q", byPath, changed)
	}
	if runtimes := answer("--lora", "x", "--kernels", "off"); runtimes == plain {
		t.Errorf("the runtime's products have no adapter: %q", runtimes)
	}
	var told result
	if err := json.Unmarshal([]byte(answer("--lora", "x:0.5", "--json")), &told); err != nil || len(told.Adapters) != 1 || told.Adapters[0] != "x:0.5" {
		t.Errorf("--json names the adapters %q, %v", told.Adapters, err)
	}
	question := "What is the capital of France?"
	got := say(t, []string{question, "/lora x", "/clear", question, "/lora off", "/clear", question}, "--model", "tiny", "--temperature", "0", "-n", "12")
	if got.code != 0 || got.out != plain+changed+plain {
		t.Errorf("a conversation: %d %q, want %q", got.code, got.out, plain+changed+plain)
	}
	got = say(t, []string{question, "/model " + fixture(t, "b-fp32"), "/lora", "Hi"}, "--model", "tiny", "--lora", "x", "-n", "2")
	if got.code != 0 || !strings.Contains(got.problems, "no adapter from now on: x belonged to the model before") || !strings.Contains(got.problems, "used   none") {
		t.Errorf("another model: %d %q", got.code, got.problems)
	}
	want(t, exitFailure, "the adapter is for another model", "run", "--model", fixture(t, "b-int4"), "--lora", "x", "hi")
	want(t, 0, "tiny + x:2", "bench", "--model", "tiny", "--lora", "x:2", "-p", "4", "-n", "0", "-r", "1")
}

// A session goes on with its adapters, from any folder and where its model is named again; off goes on without them.
func TestSessionsHaveAdapters(t *testing.T) {
	alone(t)
	adapter, path := filepath.Join(ortest.Root(t), "engine", "lora", "testdata", "pirate"), filepath.Join(t.TempDir(), "notes.session")
	want(t, 0, "x is here", "lora", "add", "x", adapter, "--base", "tiny")
	ask := func(args ...string) outcome {
		t.Helper()
		return command(t, "", append([]string{"run", "--session", path, "-n", "2", "hi"}, args...)...)
	}
	t.Chdir(filepath.Dir(adapter))
	ask("--model", "tiny", "--lora", "./pirate:0.5", "--lora", "x")
	t.Chdir("..")
	kept := []string{adapter + ":0.5", "x"}
	for _, args := range [][]string{nil, {"--model", "tiny"}} {
		if got := ask(args...); got.code != 0 || !strings.Contains(got.problems, "with "+strings.Join(kept, ", ")) || strings.Contains(got.problems, "computed again") {
			t.Errorf("%q: %d %q", args, got.code, got.problems)
		}
	}
	if talk := keptIn(t, path); !slices.Equal(talk.Adapters, kept) {
		t.Errorf("kept are %q, want %q", talk.Adapters, kept)
	}
	if got := ask("--model", fixture(t, "b-int4")); got.code != 0 || strings.Contains(got.problems, "\nwith ") {
		t.Errorf("another model: %d %q", got.code, got.problems)
	}
	ask("--model", "tiny", "--lora", "x")
	want(t, 0, "x is removed", "lora", "rm", "x")
	if got := ask(); got.code != exitFailure || !strings.Contains(got.problems, "go on with "+path+" as it was: adapters: find x: ") || !strings.Contains(got.problems, "; --lora off goes on without adapters\n") {
		t.Errorf("one that is gone: %d %q", got.code, got.problems)
	}
	if got := ask("--lora", "off"); got.code != 0 || strings.Contains(got.problems, "\nwith ") || keptIn(t, path).Adapters != nil {
		t.Errorf("without: %d %q", got.code, got.problems)
	}
	if got := say(t, []string{"/lora " + adapter}, "--session", path); got.code != 0 || len(keptIn(t, path).Adapters) != 1 {
		t.Errorf("a conversation that only took one: %d %q, kept %q", got.code, got.problems, keptIn(t, path).Adapters)
	}
}

// Whoever answered is named with its adapters: by query, its JSON, and the notes of what the user thinks.
func TestAnswersNameTheirAdapters(t *testing.T) {
	home, _ := alone(t)
	want(t, 0, "x is here", "lora", "add", "x", tinyAdapter(t, 6), "--base", "tiny")
	got := want(t, 0, "with x\n", "query", "--model", "tiny", "--lora", "x", "-n", "2", "--json", "hi")
	if q := (queried{}); json.Unmarshal([]byte(got.out), &q) != nil || !slices.Equal(q.Adapters, []string{"x"}) {
		t.Errorf("query --json: %q", got.out)
	}
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte("[model]\nlora = [\"x\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "", "query", "-n", "2", "--lora", "off", "hi"); got.code != 0 || strings.Contains(got.problems, "with x") {
		t.Errorf("--lora off: %d %q", got.code, got.problems)
	}
	say(t, []string{"Hi", "/good"}, "--model", "tiny", "--lora", "x:0.5", "-n", "2")
	if text, err := os.ReadFile(filepath.Join(home, "feedback.jsonl")); err != nil || !strings.Contains(string(text), `"by":"tiny + x:0.5"`) {
		t.Errorf("feedback is %s, %v", text, err)
	}
}

// An adapter in the store makes places for itself in conversations on the CPU. On another provider nobody asked for it.
func TestPlacesForAdapters(t *testing.T) {
	alone(t)
	elsewhere := []ort.Provider{{Plugin: "libx.so"}}
	wants := func(providers []ort.Provider, name string, args ...string) bool {
		t.Helper()
		set := flag.NewFlagSet(name, flag.ContinueOnError)
		if err := errors.Join(loraFlag().Apply(set), set.Parse(args)); err != nil {
			t.Fatal(err)
		}
		c := cli.NewContext(cli.NewApp(), set, nil)
		c.Command = &cli.Command{Name: name}
		return wantsAdapters(c, providers)
	}
	if wants(nil, "chat") {
		t.Error("the store is empty: places all the same")
	}
	adapter := tinyAdapter(t, 1)
	model := fixture(t, "b-fp32")
	got := say(t, []string{"/lora " + adapter, "hi", "/lora " + adapter}, "--model", model, "-n", "1")
	if !strings.Contains(got.problems, "opened without places for adapters: open it anew with --lora") || strings.Contains(got.problems, "/model") {
		t.Errorf("nothing in the store: %q", got.problems)
	}
	want(t, 0, "x is here", "lora", "add", "x", adapter, "--base", "tiny")
	for _, c := range []struct {
		providers []ort.Provider
		args      []string
		want      bool
	}{
		{nil, []string{"chat"}, true},
		{nil, []string{"run"}, true},
		{nil, []string{"run", "a question"}, false},
		{nil, []string{"bench"}, false},
		{nil, []string{"chat", "--lora", "off"}, false},
		{elsewhere, []string{"chat"}, false},
		{elsewhere, []string{"run"}, false},
		{elsewhere, []string{"chat", "--lora", "x"}, true}, // an error then, which says why
	} {
		if got := wants(c.providers, c.args[0], c.args[1:]...); got != c.want {
			t.Errorf("%q on %v: got %v, want %v", c.args, c.providers, got, c.want)
		}
	}
}

// What was trained anew, under a name or at a path that is in use, is what answers from the next /lora on.
func TestAdaptersMadeAnew(t *testing.T) {
	alone(t)
	m, err := engine.OpenFS(ortest.Env(t), tiny.FS(), engine.Options{Name: tinyName})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	said := func(a *adapted) (text string) {
		t.Helper()
		uses, err := a.on(m)
		if err != nil {
			t.Fatal(err)
		}
		for token, err := range m.Generate(t.Context(), engine.Request{Messages: conversation("", "What is the capital of France?"), MaxTokens: 20, Adapters: uses}) {
			if err != nil {
				t.Fatal(err)
			}
			text += token.Text
		}
		return text
	}
	pirate, other, path := filepath.Join(ortest.Root(t), "engine", "lora", "testdata", "pirate"), tinyAdapter(t, 6), filepath.Join(t.TempDir(), "now")
	for _, name := range []string{"x", path} {
		a := &adapted{}
		answer := func(files string) string {
			t.Helper()
			command(t, "", "lora", "rm", "x")
			want(t, 0, "x is here", "lora", "add", "x", files, "--base", "tiny")
			if err := errors.Join(os.RemoveAll(path), os.CopyFS(path, os.DirFS(files))); err != nil {
				t.Fatal(err)
			}
			uses, err := findAdapters([]string{name})
			if err != nil {
				t.Fatal(err)
			}
			a.uses = uses
			return said(a)
		}
		first, second, third := answer(pirate), answer(other), answer(pirate)
		if !strings.HasPrefix(first, "Arr!") || second == first || third != first {
			t.Errorf("%s: %q, then %q, then %q; want the first once more after another", name, first, second, third)
		}
	}
}
