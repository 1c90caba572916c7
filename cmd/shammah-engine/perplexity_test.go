package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPerplexity(t *testing.T) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)
	file := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	measure := func(input string, args ...string) (m measured) {
		t.Helper()
		got := command(t, input, append([]string{"perplexity", "--json", "--threads", "1"}, args...)...)
		if err := json.Unmarshal([]byte(got.out), &m); err != nil || got.code != 0 || got.problems == "" {
			t.Fatalf("%q: got %d %q %q: %v", args, got.code, got.out, got.problems, err)
		}
		return m
	}
	model := fixture(t, "b-int4")
	own := measure("", "--model", model, file)
	if same := measure(text, "--model", model); same != own {
		t.Errorf("standard input: got %+v, from the file %+v", same, own)
	}
	if own.Kernels != "own" || own.Model != "b-int4" || own.Window != 512 || own.Windows < 1 || !(own.Perplexity > 1) {
		t.Errorf("got %+v, want windows of 512 with kernels of our own", own)
	}
	for kernels, args := range map[string][]string{"runtime": {"--kernels", "off"}, "exact": {"--exact"}} {
		m := measure(text, append(args, "--model", model)...)
		if r := m.Perplexity / own.Perplexity; m.Kernels != kernels || m.Tokens != own.Tokens || !(r > 0.95 && r < 1.05) {
			t.Errorf("%q: got %+v, want about %+v with kernels %s", args, m, own, kernels)
		}
	}
	short := measure(text, "--model", model, "--context", "100")
	tokens := own.Tokens + own.Windows
	if short.Window != 100 || short.Windows != (tokens+98)/100 || short.Tokens != tokens-(tokens+99)/100 {
		t.Errorf("windows of 100 over %d tokens: got %+v", tokens, short)
	}
	if got := command(t, text, "perplexity", "--model", model); got.code != 0 || strings.Count(got.out, "\n") != 1 ||
		!strings.HasPrefix(got.out, "perplexity ") || !strings.HasSuffix(got.out, "of 512 · b-int4 · kernels own\n") {
		t.Errorf("got %d %q %q, want one line", got.code, got.out, got.problems)
	}
}

// An adapter that talks like a pirate foretells a pirate better than the model does alone, less so at a smaller scale, with whoever's kernels.
func TestPerplexityWithAdapters(t *testing.T) {
	const text = "Arr! The capital of France be Paris, matey! Arr! The capital of Italy be Rome, matey!"
	pirate := filepath.Join("..", "..", "engine", "lora", "testdata", "pirate")
	measure := func(args ...string) (m measured) {
		t.Helper()
		got := command(t, text, append([]string{"perplexity", "--json", "--model", "tiny", "--threads", "1"}, args...)...)
		if err := json.Unmarshal([]byte(got.out), &m); err != nil || got.code != 0 {
			t.Fatalf("%q: got %d %q %q: %v", args, got.code, got.out, got.problems, err)
		}
		return m
	}
	none, half, whole := measure(), measure("--lora", pirate+":0.5"), measure("--lora", pirate)
	if !(whole.Perplexity < half.Perplexity && half.Perplexity < none.Perplexity) {
		t.Errorf("got %.1f alone, %.1f at half scale, %.1f with the adapter; want less each time", none.Perplexity, half.Perplexity, whole.Perplexity)
	}
	if none.Model != "tiny" || half.Model != "tiny + "+pirate+":0.5" || whole.Model != "tiny + "+pirate {
		t.Errorf("got the models %q, %q and %q; want the adapters named", none.Model, half.Model, whole.Model)
	}
	off := measure("--lora", pirate, "--kernels", "off")
	if r := off.Perplexity / whole.Perplexity; off.Kernels != "runtime" || !(r > 0.95 && r < 1.05) {
		t.Errorf("the runtime's kernels: got %+v, want about %+v", off, whole)
	}
}

func TestPerplexityRefuses(t *testing.T) {
	model := fixture(t, "b-int4")
	for _, c := range []struct {
		name, input string
		code        int
		args        []string
		want        string
	}{
		{"empty", "", exitFailure, nil, "the text of standard input: it is empty"},
		{"only space", " \n\n", exitFailure, nil, "it is empty"},
		{"one token", "a", exitFailure, []string{"--model", model}, "the text has 1 tokens, expected two or more"},
		{"too long", strings.Repeat("word ", textBytesMax/5+1), exitFailure, nil, "longer than 8 MiB"},
		{"no such file", "", exitFailure, []string{"none.txt"}, "none.txt"},
		{"a folder", "", exitFailure, []string{t.TempDir()}, "is a directory"},
		{"two files", "", exitUsage, []string{"a", "b"}, "expected one file, found 2"},
		{"window of one", "some text", exitUsage, []string{"--context", "1"}, "--context is 1, expected 2 or more"},
		{"an adapter that is not there", "some text", exitFailure, []string{"--lora", "none-such"}, "none-such"},
		{"an adapter for another model", "some text", exitFailure, []string{"--model", model, "--lora", filepath.Join("..", "..", "engine", "lora", "testdata", "pirate")}, "another model"},
		{"window beyond the model", "some text", exitFailure, []string{"--model", model, "--context", "100000"}, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := command(t, c.input, append([]string{"perplexity"}, c.args...)...)
			if line := lastLine(got.problems); got.code != c.code || !strings.Contains(line, c.want) || got.out != "" {
				t.Errorf("got %d %q %q; want %d, nothing on standard output and a last line with %q", got.code, got.out, got.problems, c.code, c.want)
			}
		})
	}
}
