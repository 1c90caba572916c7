package lora

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// graph reads one of the fixtures of engine, or the embedded model's.
func graph(t *testing.T, path string) *onnx.Graph {
	t.Helper()
	f, err := os.Open(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Read(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return m.Graph
}

// Every exporter's graph gives the same names and shapes of one architecture.
func TestTargets(t *testing.T) {
	h := Heads{Query: 4, KV: 2, Dim: 32}
	for _, path := range []string{"testdata/a-fp32/onnx/model.onnx", "testdata/a-nocache/onnx/model.onnx", "testdata/b-fp32/model.onnx", "testdata/b-int4/model.onnx", "testdata/c-fp32/model.onnx"} {
		targets := Targets(graph(t, path), h)
		for name, want := range map[string]Target{
			"model.layers.0.self_attn.q_proj": {64, 128}, "model.layers.1.self_attn.k_proj": {64, 64}, "model.layers.1.self_attn.v_proj": {64, 64},
			"model.layers.0.self_attn.o_proj": {128, 64}, "model.layers.1.mlp.gate_proj": {64, 64}, "model.layers.0.mlp.down_proj": {64, 64},
		} {
			if got := targets[name]; got != want {
				t.Errorf("%s: %s is %v, want %v", path, name, got, want)
			}
		}
		if _, ok := targets["model.layers.2.self_attn.q_proj"]; ok {
			t.Errorf("%s has a third layer", path)
		}
	}
	packed := Targets(graph(t, "testdata/b-fp32/model.onnx"), Heads{Query: 5, KV: 2, Dim: 32})
	if _, ok := packed["model.layers.0.self_attn.q_proj"]; ok || packed["model.layers.0.self_attn.qkv_proj"].Outputs != 256 {
		t.Error("a packed matrix was divided into heads that it does not have")
	}
}

// M-14: an adapter of another base is found out by names and shapes.
func TestFits(t *testing.T) {
	targets := map[string]Target{"model.layers.0.self_attn.q_proj": {64, 128}, "model.layers.0.mlp.up_proj": {64, 96}}
	module := func(name string, inputs, outputs int) *Adapter {
		return &Adapter{Modules: []Module{{Name: name, Inputs: inputs, Outputs: outputs}}}
	}
	if err := module("model.layers.0.self_attn.q_proj", 64, 128).Fits("m", targets); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		adapter *Adapter
		targets map[string]Target
		word    string
	}{
		{module("model.layers.0.self_attn.q_proj", 64, 64), targets, "the shape (64, 64) in the adapter and (128, 64) in the model"},
		{module("model.layers.0.self_attn.q_proj", 32, 128), targets, "(128, 32) in the adapter"},
		{module("model.layers.7.self_attn.q_proj", 64, 128), targets, "it has 1 like model.layers.0.self_attn.q_proj"},
		{module("layers.0.self_attn.q_proj", 64, 128), targets, "adds to layers.0.self_attn.q_proj, which"},
		{module("transformer.h.0.attn.c_attn", 64, 128), targets, "adds to transformer.h.0.attn.c_attn"},
		{module("lm_head", 64, 128), nil, "none of its matrices is known by name"},
	} {
		refused(t, c.word, c.adapter, c.adapter.Fits("m", c.targets), c.word)
	}
}
