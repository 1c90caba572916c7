package derive

import (
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// What exporters call a product and its weights, and the module that it is.
func TestModuleOf(t *testing.T) {
	for _, c := range []struct{ node, weights, want string }{
		{"/model/layers.0/self_attn/q_proj/MatMul", "onnx::MatMul_7190", "layers.0.attn.q_proj"},
		{"/model/layers.11/self_attn/q_proj/MatMul_Q4", "onnx::MatMul_7190_Q4", "layers.11.attn.q_proj"},
		{"/model/layers.0/attn/qkv_proj/MatMul_Q4", "model.layers.0.attn.qkv_proj.MatMul.weight_Q4G32", "layers.0.attn.qkv_proj"},
		{"/lm_head/MatMul", "model.embed_tokens.weight_transposed", "lm_head"},
		{"/model/layers.3/mlp/down_proj/Gemm", "w", "layers.3.mlp.down_proj"},
		{"node_linear_12", "model.layers.2.mlp.up_proj.weight", "layers.2.mlp.up_proj"},
		{"", "model.layers.2.mlp.up_proj.MatMul.weight_Q4", "layers.2.mlp.up_proj"},
		{"node_12", "val_7", ""},
		{"", "", ""},
	} {
		if got := moduleOf(&onnx.Node{Name: c.node}, c.weights); got != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.node, c.weights, got, c.want)
		}
	}
	for _, name := range []string{"model.layers.0.self_attn.q_proj", "base_model.model.model.layers.0.self_attn.q_proj", "model.language_model.layers.0.self_attn.q_proj"} {
		if got := canonical(name); got != "layers.0.attn.q_proj" {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

// Modules that the exporter joined, or the checkpoint, are found in each other; and what does not fit is refused in words.
func TestModules(t *testing.T) {
	spec := &model.Spec{Heads: 4, KVHeads: 2, HeadDim: 8}
	p := &Plan{Targets: []Target{
		{"layers.0.attn.qkv_proj", 16, 64, true}, {"layers.0.mlp.gate_proj", 16, 24, true}, {"layers.0.mlp.up_proj", 16, 24, true},
		{"layers.1.attn.q_proj", 16, 32, true}, {"layers.1.attn.k_proj", 16, 16, true}, {"layers.1.attn.v_proj", 16, 16, true}, {"layers.1.mlp.gate_up_proj", 16, 48, true},
		{"lm_head", 16, 100, true}, {"twice", 16, 16, true}, {"twice", 16, 16, true}, {"layers.2.attn.qkv_proj", 16, 60, true},
	}}
	m := p.Modules(spec)
	for _, c := range []struct {
		name    string
		outputs int
		want    []Place
		wrong   string
	}{
		{"model.layers.0.self_attn.q_proj", 32, []Place{{0, 0, 0, 32}}, ""},
		{"model.layers.0.self_attn.k_proj", 16, []Place{{0, 32, 0, 16}}, ""},
		{"model.layers.0.self_attn.v_proj", 16, []Place{{0, 48, 0, 16}}, ""},
		{"model.layers.0.self_attn.qkv_proj", 64, []Place{{0, 0, 0, 64}}, ""},
		{"model.layers.0.mlp.gate_up_proj", 48, []Place{{1, 0, 0, 24}, {2, 0, 24, 24}}, ""},
		{"model.layers.1.self_attn.qkv_proj", 64, []Place{{3, 0, 0, 32}, {4, 0, 32, 16}, {5, 0, 48, 16}}, ""},
		{"model.layers.1.mlp.up_proj", 24, []Place{{6, 24, 0, 24}}, ""},
		{"lm_head", 100, []Place{{7, 0, 0, 100}}, ""},
		{"lm_head", 99, nil, "has 99 outputs, expected 100"},
		{"twice", 16, nil, `no module "twice"`},
		{"model.layers.2.self_attn.q_proj", 32, nil, "in 3 layers"}, // heads that do not add up to the matrix
		{"model.layers.9.self_attn.q_proj", 32, nil, "attn.k_proj, attn.q_proj, attn.qkv_proj, attn.v_proj, lm_head, mlp.gate_proj"},
		{"", 1, nil, `no module ""`},
	} {
		got, err := m.Find(c.name, 16, c.outputs)
		if c.wrong == "" && (err != nil || !slices.Equal(got, c.want)) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s with %d outputs: got %v, %v; want %v, %s", c.name, c.outputs, got, err, c.want, c.wrong)
		}
	}
	if _, err := m.Find("lm_head", 17, 100); err == nil || !strings.Contains(err.Error(), "17 inputs, expected 16") {
		t.Errorf("other inputs: got %v", err)
	}
	if s := (&Plan{}).Modules(spec).String(); s != "none" {
		t.Errorf("no targets: got %q", s)
	}
}
