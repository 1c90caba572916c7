package text

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// shared is a file or folder of test data that lies beside the repository.
func shared(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join("..", "..", "..", "shared", filepath.FromSlash(path))
	if _, err := os.Stat(full); err != nil {
		t.Skipf("needs the test data %s beside the repository", path)
	}
	return full
}

func load(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := Load(shared(t, path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	return tok
}

const (
	qwen  = "data/tokenizers/qwen2.5-0.5b-instruct/tokenizer.json"
	qwen3 = "data/tokenizers/qwen3/tokenizer.json"
	gpt2  = "data/tokenizers/gpt2/tokenizer.json"
	smol  = "models/smollm2-135m-instruct/genai-int4/tokenizer.json"
)

type goldCase struct {
	text string
	ids  []int32
}

// gold is llama.cpp's texts with the ids that the model's own tokenizer gives.
func gold(t testing.TB, name string) []goldCase {
	t.Helper()
	read := func(ext string) string {
		data, err := os.ReadFile(shared(t, "data/gold/llama.cpp/ggml-vocab-"+name+".gguf"+ext))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	texts := strings.Split(read(".inp"), "\n__ggml_vocab_test__\n")
	lines := strings.Split(read(".out"), "\n")
	var cases []goldCase
	for i, text := range texts[:len(texts)-1] {
		var ids []int32
		for _, field := range strings.Fields(lines[i]) {
			id, err := strconv.ParseInt(field, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, int32(id))
		}
		cases = append(cases, goldCase{text, ids})
	}
	if len(cases) < 40 {
		t.Fatalf("%s: %d cases, expected at least 40", name, len(cases))
	}
	return cases
}

func TestGold(t *testing.T) {
	for name, path := range map[string]string{"qwen2": qwen, "gpt-2": gpt2} {
		t.Run(name, func(t *testing.T) {
			tok := load(t, path)
			for _, c := range gold(t, name) {
				got, err := tok.Encode(c.text, EncodeOptions{})
				if err != nil || !slices.Equal(got, c.ids) {
					t.Errorf("encode %q: got %v (%v), want %v", c.text, got, err, c.ids)
				}
				back, err := tok.Decode(c.ids, DecodeOptions{})
				if err != nil || back != c.text {
					t.Errorf("decode %v: got %q (%v), want %q", c.ids, back, err, c.text)
				}
			}
		})
	}
}
