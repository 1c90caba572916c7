package model

import (
	"bytes"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

func TestWeightedNodes(t *testing.T) {
	weight := func(name string, n int64) onnxtest.Tensor {
		return onnxtest.Tensor{Name: name, Type: onnx.Float32, Dims: []int64{n}, Raw: make([]byte, 4*n)}
	}
	file := onnxtest.Encode(onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "ids", Type: onnx.Int64, Dims: []any{1}}},
		Outputs: []onnxtest.Value{{Name: "y", Type: onnx.Float32, Dims: []any{1}}},
		Tensors: []onnxtest.Tensor{weight("table", 100), weight("codes", 20), weight("scales", 2), weight("plain", 10), {Name: "empty", Type: onnx.Float32, Dims: []int64{0}}},
		Nodes: []onnxtest.Node{
			{Op: "Gather", Inputs: []string{"table", "ids"}, Outputs: []string{"h"}},
			{Op: "DequantizeLinear", Inputs: []string{"codes", "scales"}, Outputs: []string{"w"}},
			{Op: "Transpose", Inputs: []string{"w"}, Outputs: []string{"wt"}},
			{Op: "MatMul", Inputs: []string{"h", "wt"}, Outputs: []string{"a"}},
			{Op: "Mul", Inputs: []string{"a", "plain", ""}, Outputs: []string{"b"}},
			{Op: "Mul", Inputs: []string{"b", "plain", "empty"}, Outputs: []string{"c"}}, // counted already
			{Op: "Transpose", Inputs: []string{"table"}, Outputs: []string{"tied"}},
			{Op: "MatMul", Inputs: []string{"c", "tied"}, Outputs: []string{"y"}},
		},
	})
	m, err := onnx.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Weighted{{"", "MatMul", 88, 3}, {"", "Mul", 40, 4}, {"", "MatMul", 400, 7}}
	if got := WeightedNodes(m.Graph); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
