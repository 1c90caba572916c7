package plain_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/plain"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
	"github.com/shammah/shammah-engine/internal/ortest"
)

const vocab, width, block = 48, 96, 32 // three blocks a row: the last nibble of 4-bit zero points stands for nothing

// quantised is a graph of an embedding and a product of so many bits, with zero points or without, that gives logits for every token.
func quantised(bits int, zeros bool) onnxtest.Graph {
	random := rand.New(rand.NewPCG(uint64(bits), 7))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.UintN(256))
		}
		return b
	}
	floats := func(n int) (b []byte) {
		for range n {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(random.Float32()/64))
		}
		return b
	}
	tensors := func(name string) []onnxtest.Tensor {
		return []onnxtest.Tensor{
			{Name: name, Type: onnx.Uint8, Dims: []int64{vocab, width / block, int64(block * bits / 8)}, Raw: noise(vocab * width * bits / 8)},
			{Name: name + ".scales", Type: onnx.Float32, Dims: []int64{vocab, width / block}, Raw: floats(vocab * width / block)},
			{Name: name + ".zeros", Type: onnx.Uint8, Dims: []int64{vocab, int64(width/block*bits+7) / 8}, Raw: noise(vocab * ((width/block*bits + 7) / 8))},
		}
	}
	table := tensors("table")
	table[0].Dims = []int64{vocab, int64(width * bits / 8)}
	g := onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "input_ids", Type: onnx.Int64, Dims: []any{"batch", "length"}}},
		Outputs: []onnxtest.Value{{Name: "logits", Type: onnx.Float32, Dims: []any{"batch", "length", vocab}}},
		Tensors: append(append(table, tensors("head")...), onnxtest.Tensor{Name: "bias", Type: onnx.Float32, Dims: []int64{vocab}, Raw: floats(vocab)}),
		Nodes: []onnxtest.Node{
			{Op: "GatherBlockQuantized", Domain: "com.microsoft", Inputs: []string{"table", "input_ids", "table.scales", "table.zeros"}, Outputs: []string{"x"},
				Attributes: map[string]any{"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}},
			{Op: "MatMulNBits", Domain: "com.microsoft", Inputs: []string{"x", "head", "head.scales", "head.zeros", "", "bias"}, Outputs: []string{"logits"},
				Attributes: map[string]any{"bits": bits, "block_size": block, "K": width, "N": vocab}},
		},
	}
	if !zeros {
		g.Nodes[0].Inputs, g.Nodes[1].Inputs[3] = g.Nodes[0].Inputs[:3], ""
	}
	return g
}

func modelOf(g onnxtest.Graph) fstest.MapFS {
	return fstest.MapFS{"model.onnx": {Data: onnxtest.Encode(g)}, "config.json": {Data: []byte(`{"vocab_size": 48, "max_position_embeddings": 64}`)}}
}

// Codes of 4 and 8 bits, with zero points and without, are unpacked to what the runtime computes with.
func TestUnpacking(t *testing.T) {
	env := ortest.Env(t)
	for _, test := range []struct {
		name  string
		bits  int
		zeros bool
	}{{"4 bits", 4, false}, {"4 bits with zero points", 4, true}, {"8 bits with zero points", 8, true}} {
		o := engine.Options{Context: 64, Kernels: engine.KernelsExact, NoText: true}
		source := modelOf(quantised(test.bits, test.zeros))
		folder, err := plain.FS(source, 64)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		want, err := engine.OpenFS(env, source, o)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		defer want.Close()
		got, err := engine.OpenFS(env, folder, o)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		defer got.Close()
		if a, err := engine.Agree(want, got); err != nil || a.Error > 1e-5 {
			t.Errorf("%s: got %s, %v; want the same", test.name, a, err)
		}
	}
}

func TestForeignNodes(t *testing.T) {
	for _, test := range []struct {
		name, fault string
		change      func(*onnxtest.Graph)
	}{
		{"8 bits that are signed", "8 bits without zero points", func(g *onnxtest.Graph) { *g = quantised(8, false) }},
		{"2 bits", "weights of 2 bits", func(g *onnxtest.Graph) { g.Nodes[1].Attributes["bits"] = 2 }},
		{"a block of nothing", "blocks of 0", func(g *onnxtest.Graph) { g.Nodes[1].Attributes["block_size"] = 0 }},
		{"sizes that overflow", "are not known here", func(g *onnxtest.Graph) { g.Nodes[1].Attributes["K"] = math.MaxInt64 }},
		{"another shape", "the size that its shape needs", func(g *onnxtest.Graph) { g.Nodes[1].Attributes["N"] = 2 * vocab }},
		{"grouped weights", "packed in a way", func(g *onnxtest.Graph) { g.Nodes[1].Inputs[4] = "bias" }},
		{"zero points of another type", "zero points", func(g *onnxtest.Graph) { g.Nodes[1].Inputs[3] = "bias" }},
		{"weights that are no constants", "codes or scales", func(g *onnxtest.Graph) { g.Nodes[1].Inputs[1] = "x" }},
		{"another operator", "that is not known here", func(g *onnxtest.Graph) { g.Nodes[1].Op = "MatMulBnb4" }},
		{"softcap", "attribute softcap", func(g *onnxtest.Graph) {
			g.Nodes[1] = onnxtest.Node{Op: "GroupQueryAttention", Domain: "com.microsoft", Inputs: []string{"x", "x", "x"}, Outputs: []string{"logits"},
				Attributes: map[string]any{"num_heads": 2, "kv_num_heads": 2, "softcap": float32(30)}}
		}},
	} {
		g := quantised(4, true)
		test.change(&g)
		source := modelOf(g)
		source["config.json"].Data = []byte(`{"vocab_size": 48, "max_position_embeddings": 64, "num_attention_heads": 2, "hidden_size": 96, "head_dim": 48}`)
		if _, err := plain.FS(source, 16); !errors.Is(err, plain.ErrRefused) || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want it refused with %q", test.name, err, test.fault)
		}
	}
}
