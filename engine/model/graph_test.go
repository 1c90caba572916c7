package model

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// attend adds one attention node per layer that reads the past and makes the present.
func attend(g *onnxtest.Graph) {
	for i := range 2 {
		past, present := fmt.Sprintf("past_key_values.%d.", i), fmt.Sprintf("present.%d.", i)
		g.Nodes = append(g.Nodes, onnxtest.Node{Op: attention, Domain: "com.microsoft",
			Inputs:     []string{"q", "k", "v", past + "key", past + "value", "lengths", "total", "cos", "sin"},
			Outputs:    []string{"o", present + "key", present + "value"},
			Attributes: map[string]any{"num_heads": 4, "kv_num_heads": 2}})
	}
}

func TestShared(t *testing.T) {
	reads := func(name string) onnxtest.Node {
		return onnxtest.Node{Op: "Shape", Inputs: []string{name}, Outputs: []string{"s"}}
	}
	branch := func(nodes ...onnxtest.Node) onnxtest.Node {
		return onnxtest.Node{Op: "If", Inputs: []string{"c"}, Outputs: []string{"r"}, Attributes: map[string]any{"then_branch": onnxtest.Graph{Nodes: nodes}}}
	}
	tests := []struct {
		name   string
		change func(g *onnxtest.Graph)
		want   bool
	}{
		{"attention alone reads the past", func(*onnxtest.Graph) {}, true},
		{"a branch that does not touch the cache", func(g *onnxtest.Graph) { g.Nodes = append(g.Nodes, branch(reads("input_ids"))) }, true},
		{"something else reads a past's shape", func(g *onnxtest.Graph) { g.Nodes = append(g.Nodes, reads("past_key_values.0.key")) }, false},
		{"a branch reads a past", func(g *onnxtest.Graph) { g.Nodes = append(g.Nodes, branch(reads("past_key_values.1.value"))) }, false},
		{"key and value swapped", func(g *onnxtest.Graph) { n := g.Nodes[0]; n.Inputs[3], n.Inputs[4] = n.Inputs[4], n.Inputs[3] }, false},
		{"the present of another layer", func(g *onnxtest.Graph) {
			g.Nodes[0].Outputs[1], g.Nodes[1].Outputs[1] = g.Nodes[1].Outputs[1], g.Nodes[0].Outputs[1]
		}, false},
		{"another operator", func(g *onnxtest.Graph) { g.Nodes[1].Op = "MultiHeadAttention" }, false},
		{"another domain", func(g *onnxtest.Graph) { g.Nodes[1].Domain = "" }, false},
		{"no attention", func(g *onnxtest.Graph) { g.Nodes = nil }, false},
	}
	for _, test := range tests {
		s, err := load(folder(t, with(layoutA(), "onnx/model.onnx", encode(func(g *onnxtest.Graph) { attend(g); test.change(g) }))))
		if err != nil || s.Shared != test.want {
			t.Errorf("%s: got %+v, %v; want shared %v", test.name, s, err, test.want)
		}
	}
}

func TestLastRowOnly(t *testing.T) {
	last := onnxtest.Tensor{Name: "last", Type: onnx.Int64, Raw: binary.LittleEndian.AppendUint64(nil, 1<<64-1)}
	axis := onnxtest.Tensor{Name: "axis", Type: onnx.Int64, Dims: []int64{1}, Raw: binary.LittleEndian.AppendUint64(nil, 1)}
	first := onnxtest.Tensor{Name: "first", Type: onnx.Int64, Raw: make([]byte, 8)}
	head := onnxtest.Node{Op: "MatMul", Inputs: []string{"cut", "w"}, Outputs: []string{"logits"}}
	node := func(op string, axis int, inputs ...string) onnxtest.Node {
		n := onnxtest.Node{Op: op, Inputs: inputs, Outputs: []string{"cut"}}
		if axis >= 0 {
			n.Attributes = map[string]any{"axis": axis}
		}
		return n
	}
	tests := []struct {
		name   string
		change func(g *onnxtest.Graph)
		want   bool
	}{
		{"nothing is cut", func(g *onnxtest.Graph) { g.Nodes = []onnxtest.Node{node("LayerNormalization", -1, "h"), head} }, false},
		{"the shape says one", func(g *onnxtest.Graph) { tensor(g, "logits").Dims[1] = 1 }, true},
		{"gather the last", func(g *onnxtest.Graph) { g.Nodes = []onnxtest.Node{node("Gather", 1, "h", "last"), head} }, true},
		{"gather the last of another axis", func(g *onnxtest.Graph) { g.Nodes = []onnxtest.Node{node("Gather", 2, "h", "last"), head} }, false},
		{"gather the first", func(g *onnxtest.Graph) { g.Nodes = []onnxtest.Node{node("Gather", 1, "h", "first"), head} }, false},
		{"slice the last", func(g *onnxtest.Graph) {
			g.Nodes = []onnxtest.Node{node("Slice", -1, "h", "last", "end", "axis"), head}
		}, true},
		{"slice from the first", func(g *onnxtest.Graph) {
			g.Nodes = []onnxtest.Node{node("Slice", -1, "h", "first", "end", "axis"), head}
		}, false},
		{"a loop of nodes", func(g *onnxtest.Graph) {
			g.Nodes = []onnxtest.Node{{Op: "Add", Inputs: []string{"logits"}, Outputs: []string{"logits"}}}
		}, false},
	}
	for _, test := range tests {
		s, err := load(folder(t, with(layoutA(), "onnx/model.onnx", encode(func(g *onnxtest.Graph) {
			g.Tensors = []onnxtest.Tensor{last, axis, first}
			test.change(g)
		}))))
		if err != nil || s.LastRowOnly != test.want {
			t.Errorf("%s: got %+v, %v; want last row only %v", test.name, s, err, test.want)
		}
	}
}

// Positions that the graph has no rotation for are out of the context.
func TestRotaryRows(t *testing.T) {
	s, err := load(folder(t, with(layoutA(), "onnx/model.onnx", encode(func(g *onnxtest.Graph) {
		attend(g)
		g.Tensors = []onnxtest.Tensor{{Name: "cos", Type: onnx.Float32, Dims: []int64{64, 4}, Raw: make([]byte, 64*4*4)}}
	}))))
	if err != nil || s.ContextMax != 64 {
		t.Errorf("got %+v, %v; want a context of 64", s, err)
	}
}

// Quantised weights count as what they stand for, scales and tables not at all, a matrix that is written twice once.
func TestParameters(t *testing.T) {
	tensor := func(name string, kind onnx.DataType, dims ...int64) onnx.Tensor {
		return onnx.Tensor{Name: name, Type: kind, Dims: dims}
	}
	nbits := onnx.Node{Op: "MatMulNBits", Inputs: []string{"x", "q", "scale", "zero"},
		Attributes: []onnx.Attribute{{Name: "K", Int: 64}, {Name: "N", Int: 300}, {Name: "bits", Int: 4}}}
	lookup := func(data string) onnx.Node {
		return onnx.Node{Op: "GatherBlockQuantized", Inputs: []string{data, "ids", "scale", "zero"}, Attributes: []onnx.Attribute{{Name: "bits", Int: 4}}}
	}
	weights := []onnx.Tensor{tensor("q", onnx.Uint8, 300, 2, 16), tensor("scale", onnx.Float32, 600), tensor("zero", onnx.Uint8, 300)}
	tests := []struct {
		name  string
		graph onnx.Graph
		tied  bool
		want  int64
	}{
		{"float", onnx.Graph{Initializers: []onnx.Tensor{tensor("w", onnx.Float32, 3, 5), tensor("shape", onnx.Int64, 4)}}, false, 15},
		{"int4", onnx.Graph{Nodes: []onnx.Node{nbits}, Initializers: weights}, false, 64 * 300},
		{"int4, looked up as well", onnx.Graph{Nodes: []onnx.Node{lookup("reshaped"), nbits}, Initializers: weights}, false, 64 * 300},
		{"an int4 table of its own", onnx.Graph{Nodes: []onnx.Node{lookup("t"), nbits},
			Initializers: append([]onnx.Tensor{tensor("t", onnx.Uint8, 300, 32)}, weights...)}, false, 2 * 64 * 300},
		{"an int4 table of its own, tied", onnx.Graph{Nodes: []onnx.Node{lookup("t"), nbits},
			Initializers: append([]onnx.Tensor{tensor("t", onnx.Uint8, 300, 32)}, weights...)}, true, 64 * 300},
	}
	for _, test := range tests {
		if got := parameters(&test.graph, test.tied, 64*300); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
