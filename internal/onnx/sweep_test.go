package onnx_test

import (
	"reflect"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// What an output needs stays, by way of other nodes and of branches within branches too; the rest goes.
func TestSweep(t *testing.T) {
	branch := func(n onnx.Node, out string) []onnx.Attribute {
		return []onnx.Attribute{{Name: "then", Graphs: []*onnx.Graph{{Nodes: []onnx.Node{n}, Outputs: []onnx.Value{{Name: out}}}}}}
	}
	inner := onnx.Node{Op: "If", Inputs: []string{"condition"}, Outputs: []string{"z"}, Attributes: branch(onnx.Node{Op: "Add", Inputs: []string{"deep", ""}, Outputs: []string{"v"}}, "outer")}
	g := onnx.Graph{
		Nodes: []onnx.Node{
			{Op: "A", Inputs: []string{"x", "weight"}, Outputs: []string{"a", ""}},
			{Op: "B", Inputs: []string{"a", "idle"}, Outputs: []string{"b"}},
			{Op: "C", Inputs: []string{"b"}, Outputs: []string{"c", ""}},
			{Op: "D", Outputs: []string{"outer"}},
			{Op: "If", Inputs: []string{"a"}, Outputs: []string{"", "y"}, Attributes: branch(inner, "z")},
		},
		Outputs: []onnx.Value{{Name: "y"}, {Name: "constant"}},
	}
	for _, name := range []string{"weight", "idle", "deep", "condition", "constant", "none"} {
		g.Initializers = append(g.Initializers, onnx.Tensor{Name: name})
	}
	g.Sweep()
	var got []string
	for _, n := range g.Nodes {
		got = append(got, n.Op)
	}
	for _, w := range g.Initializers {
		got = append(got, w.Name)
	}
	if want := []string{"A", "D", "If", "weight", "deep", "condition", "constant"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
