package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// toIntegers makes products of float32 weights products of 8-bit integers, as the runtime's tool for dynamic quantisation does: in its nodes, or fused in one.
func toIntegers(t *testing.T, fused bool) func(m *onnx.Model, tensors *model.Tensors) {
	return func(m *onnx.Model, tensors *model.Tensors) {
		g := m.Graph
		quantised := map[string]bool{}
		var nodes []onnx.Node
		for _, n := range g.Nodes {
			at := slices.IndexFunc(g.Initializers, func(x onnx.Tensor) bool {
				return n.Op == "MatMul" && x.Name == n.Inputs[1] && x.Type == onnx.Float32 && len(x.Dims) == 2
			})
			if at < 0 {
				nodes = append(nodes, n)
				continue
			}
			w := g.Initializers[at]
			b, err := tensors.Read(&w)
			if err != nil {
				t.Fatal(err)
			}
			values, most := floatsOf(b), 0.0
			for _, v := range values {
				most = max(most, math.Abs(float64(v)))
			}
			scale := float32(most / 127)
			codes := make([]byte, len(values))
			for i, v := range values {
				codes[i] = byte(int8(math.RoundToEven(float64(v / scale))))
			}
			g.Initializers = append(g.Initializers, onnx.Tensor{Name: w.Name + "_quantized", Type: onnx.Int8, Dims: w.Dims, Data: codes},
				onnx.Tensor{Name: w.Name + "_scale", Type: onnx.Float32, Dims: []int64{}, Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(scale))},
				onnx.Tensor{Name: w.Name + "_zero_point", Type: onnx.Int8, Dims: []int64{}, Data: []byte{0}})
			x, y := n.Inputs[0], n.Outputs[0]
			if fused {
				nodes = append(nodes, onnx.Node{Name: n.Name + "_quant", Op: "DynamicQuantizeMatMul", Domain: "com.microsoft",
					Inputs: []string{x, w.Name + "_quantized", w.Name + "_scale", w.Name + "_zero_point"}, Outputs: []string{y}})
				continue
			}
			if !quantised[x] {
				quantised[x] = true
				nodes = append(nodes, onnx.Node{Name: x + "_QuantizeLinear", Op: "DynamicQuantizeLinear", Inputs: []string{x}, Outputs: []string{x + "_quantized", x + "_scale", x + "_zero_point"}})
			}
			nodes = append(nodes,
				onnx.Node{Name: n.Name + "_quant_scales_mul", Op: "Mul", Inputs: []string{x + "_scale", w.Name + "_scale"}, Outputs: []string{y + ":0"}},
				onnx.Node{Name: n.Name + "_quant", Op: "MatMulInteger", Inputs: []string{x + "_quantized", w.Name + "_quantized", x + "_zero_point", w.Name + "_zero_point"}, Outputs: []string{y + "_quantized"}},
				onnx.Node{Name: y + "_cast", Op: "Cast", Inputs: []string{y + "_quantized"}, Outputs: []string{y + "_cast"}, Attributes: []onnx.Attribute{{Name: "to", Int: int64(onnx.Float32)}}},
				onnx.Node{Name: n.Name + "_quant_output_scale_mul", Op: "Mul", Inputs: []string{y + "_cast", y + ":0"}, Outputs: []string{y}})
		}
		g.Nodes = nodes
		if fused {
			m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
		}
	}
}

// Products of 8-bit integers take adapters: with none, and after the last, the logits are those of the graph as it is, to the last bit; with one they move as
// those of the float32 graph do.
func TestAdaptersOnIntegers(t *testing.T) {
	open := func(dir string, o Options) *Model {
		m, err := Open(ortest.Env(t), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	floats := openFixture(t, "a-fp32", Options{Threads: 2, Adapters: true})
	adapter := randomAdapter(t, floats, 4, 0.5, 1, allModules(2)...)
	load(t, floats, "a", adapter)
	before, after := logitsWith(t, floats), logitsWith(t, floats, AdapterUse{"a", 1})
	for _, fused := range []bool{false, true} {
		t.Run(fmt.Sprint("fused ", fused), func(t *testing.T) {
			dir := edited(t, "a-fp32", toIntegers(t, fused))
			want := logitsWith(t, open(dir, Options{Threads: 2}))
			m := open(dir, Options{Threads: 2, Adapters: true})
			if !sameRows(logitsWith(t, m), want) {
				t.Error("with places for adapters: other logits")
			}
			load(t, m, "a", adapter)
			got := logitsWith(t, m, AdapterUse{"a", 1})
			if a := compare(after, got); !a.ok() || a.Error > 0.15 {
				t.Errorf("with an adapter: %s beside float32; want what rounding to 8 bits does", a)
			}
			if a := compare(before, got); a.Error < 0.3 {
				t.Errorf("with an adapter: %s beside float32 without it; want other logits", a)
			}
			if err := m.RemoveAdapter("a"); err != nil || !sameRows(logitsWith(t, m), want) {
				t.Errorf("it was removed: other logits, or %v", err)
			}
		})
	}
}
