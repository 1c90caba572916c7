package engine

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// quantised is a copy of a float32 model whose products with constant weights have int4 ones, blocks of 32, as quantisers write them.
func quantised(t *testing.T, fixture string) string {
	t.Helper()
	return edited(t, fixture, func(m *onnx.Model, tensors *model.Tensors) {
		g := m.Graph
		for i := range g.Nodes {
			n := &g.Nodes[i]
			at := slices.IndexFunc(g.Initializers, func(x onnx.Tensor) bool {
				return n.Op == "MatMul" && x.Name == n.Inputs[1] && x.Type == onnx.Float32 && len(x.Dims) == 2 && x.Dims[0]%32 == 0
			})
			if at < 0 {
				continue
			}
			w := g.Initializers[at]
			b, err := tensors.Read(&w)
			if err != nil {
				t.Fatal(err)
			}
			k, outputs := int(w.Dims[0]), int(w.Dims[1])
			codes, scales := quantise(b, k, outputs)
			g.Initializers = append(g.Initializers,
				onnx.Tensor{Name: w.Name + "_Q4", Type: onnx.Uint8, Dims: []int64{int64(outputs), int64(k / 32), 16}, Data: codes},
				onnx.Tensor{Name: w.Name + "_scales", Type: onnx.Float32, Dims: []int64{int64(outputs), int64(k / 32)}, Data: scales})
			*n = onnx.Node{Name: n.Name, Op: "MatMulNBits", Domain: "com.microsoft", Inputs: []string{n.Inputs[0], w.Name + "_Q4", w.Name + "_scales"}, Outputs: n.Outputs,
				Attributes: []onnx.Attribute{{Name: "K", Int: int64(k)}, {Name: "N", Int: int64(outputs)}, {Name: "bits", Int: 4}, {Name: "block_size", Int: 32}, {Name: "accuracy_level", Int: 4}}}
		}
		if !slices.ContainsFunc(m.Opsets, func(o onnx.Opset) bool { return o.Domain == "com.microsoft" }) {
			m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
		}
	})
}

// quantise turns float32 weights (inputs, outputs) into codes (outputs, inputs/32, 16) and scales (outputs, inputs/32).
func quantise(b []byte, inputs, outputs int) (codes, scales []byte) {
	for n := range outputs {
		for k := 0; k < inputs; k += 32 {
			var w [32]float64
			most := 0.0
			for i := range w {
				w[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*((k+i)*outputs+n):])))
				most = max(most, math.Abs(w[i]))
			}
			scale := most / 7
			scales = binary.LittleEndian.AppendUint32(scales, math.Float32bits(float32(scale)))
			for i := 0; i < 32; i += 2 {
				low, high := byte(8+math.Round(w[i]/scale)), byte(8+math.Round(w[i+1]/scale))
				codes = append(codes, low|high<<4)
			}
		}
	}
	return codes, scales
}

// Attention of plain nodes runs on our kernels over one cache, and gives the same tokens however the work is cut.
func TestKernelsUnfused(t *testing.T) {
	g := readGolden(t)
	for _, fixture := range []string{"a-fp32", "a-keep", "c-fp32"} {
		t.Run(fixture, func(t *testing.T) {
			dir := quantised(t, fixture)
			open := func(o Options) *Model {
				m, err := Open(ortest.Env(t), dir, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { m.Close() })
				return m
			}
			first := open(Options{Threads: 1})
			if why := first.Kernels(); why != "" || !first.Spec().Shared || len(first.Kept()) > 0 {
				t.Fatalf("got kernels %q, a shared cache: %v, kept %v; want everything on our kernels", why, first.Spec().Shared, first.Kept())
			}
			if asked := first.Spec().LogitsRows != ""; asked == (first.Spec().NumLogits != "") {
				t.Errorf("got rows of logits asked for by %q and %q; want one way", first.Spec().LogitsRows, first.Spec().NumLogits)
			}
			var want [][]int32
			for _, prompt := range g.Prompts {
				want = append(want, tokens(t, first, Request{Tokens: prompt, MaxTokens: 48, IgnoreEnd: true}))
			}
			for _, o := range []Options{{Threads: 2}, {Threads: 2, Chunk: 7}, {Threads: 1, Chunk: 1}} {
				m := open(o)
				for i, prompt := range g.Prompts {
					if got := tokens(t, m, Request{Tokens: prompt, MaxTokens: 48, IgnoreEnd: true}); !slices.Equal(got, want[i]) {
						t.Errorf("%d threads, chunks of %d, prompt of %d tokens:\ngot  %v\nwant %v", o.Threads, o.Chunk, len(prompt), got, want[i])
					}
				}
			}
			var requests []Request
			for _, prompt := range g.Prompts {
				requests = append(requests, Request{Tokens: prompt, MaxTokens: 48, IgnoreEnd: true})
			}
			got := batch(t, first, requests)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("in a batch, row %d:\ngot  %v\nwant %v", i, got[i], want[i])
				}
			}
			exact := open(Options{Kernels: KernelsExact})
			reference, err := exact.probe()
			if err != nil {
				t.Fatal(err)
			}
			ours, err := first.probe()
			if err != nil {
				t.Fatal(err)
			}
			if a := compare(reference, ours); !a.ok() {
				t.Errorf("against the original: got %v", a)
			}
		})
	}
}
