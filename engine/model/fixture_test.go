package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// folder makes a folder with these files; a name that ends in a slash is an empty folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, files)
	return dir
}

func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// decoder is a graph of two layers that only declares what it takes and gives: vocabulary 300, 2 heads of 8 for the cache.
func decoder() onnxtest.Graph {
	g := onnxtest.Graph{
		Inputs: []onnxtest.Value{
			{Name: "input_ids", Type: onnx.Int64, Dims: []any{"batch", "length"}},
			{Name: "attention_mask", Type: onnx.Int64, Dims: []any{"batch", "total"}},
			{Name: "position_ids", Type: onnx.Int64, Dims: []any{"batch", "length"}},
		},
		Outputs: []onnxtest.Value{{Name: "logits", Type: onnx.Float32, Dims: []any{"batch", "length", 300}}},
	}
	for layer := range 2 {
		for _, half := range []string{"key", "value"} {
			kv := onnxtest.Value{Type: onnx.Float32, Dims: []any{"batch", 2, "past", 8}}
			kv.Name = fmt.Sprintf("past_key_values.%d.%s", layer, half)
			g.Inputs = append(g.Inputs, kv)
			kv.Name = fmt.Sprintf("present.%d.%s", layer, half)
			kv.Dims = []any{"batch", 2, "total", 8}
			g.Outputs = append(g.Outputs, kv)
		}
	}
	return g
}

// encode is a decoder after a change.
func encode(change func(g *onnxtest.Graph)) string {
	g := decoder()
	if change != nil {
		change(&g)
	}
	return string(onnxtest.Encode(g))
}

const (
	configJSON = `{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 300, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32, "max_position_embeddings": 128,
		"eos_token_id": 5, "rope_theta": 1000000.0}`
	genaiJSON = `{"model": {"type": "qwen2", "vocab_size": 300, "context_length": 128, "eos_token_id": [5],
		"decoder": {"filename": "model.onnx", "head_size": 8, "hidden_size": 32, "num_attention_heads": 4,
			"num_hidden_layers": 2, "num_key_value_heads": 2,
			"inputs": {"input_ids": "input_ids", "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
			"outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}}},
		"search": {"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8}}`
	tokenizerJSON = `{"version": "1.0", "added_tokens": [{"id": 5, "content": "<|im_end|>"}, {"id": 6, "content": "<|im_start|>"},
		{"id": 7, "content": "<end>"}], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2, "\"": 3}, "merges": []}}`
)

// layoutA is a whole model of layout A.
func layoutA() map[string]string {
	return map[string]string{
		"config.json": configJSON, "tokenizer.json": tokenizerJSON, "onnx/model.onnx": encode(nil),
	}
}

// with is files after changes: pairs of name and content, "-" to delete.
func with(files map[string]string, changes ...string) map[string]string {
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "-" {
			delete(files, changes[i])
			continue
		}
		files[changes[i]] = changes[i+1]
	}
	return files
}

// load finds and loads what lies in dir.
func load(dir string) (*Spec, error) {
	f, err := Find(os.DirFS(dir), dir, FindOptions{})
	if err != nil {
		return nil, err
	}
	return f.Load(Signature{})
}

// oneLine checks that an error is there, is one line and holds the words.
func oneLine(t *testing.T, name string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", name, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %q, want %q in it", name, err, w)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 600 || !strings.HasPrefix(err.Error(), "model: ") {
		t.Errorf("%s: %q is not one short line of this package", name, err)
	}
}
