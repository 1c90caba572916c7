package quantise

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

const (
	vocab, hidden = 40, 64
	configText    = `{"model_type": "llama", "vocab_size": 40, "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 64,
		"max_position_embeddings": 64, "eos_token_id": 5}`
	tokenizerText = `{"version": "1.0", "added_tokens": [{"id": 5, "content": "<end>"}], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}`
)

// weights are numbers by a seed, one for each element.
func weights(seed uint64, dims ...int64) []float32 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// tensor is a constant of float32 with these numbers.
func tensor(name string, x []float32, dims ...int64) onnxtest.Tensor {
	return onnxtest.Tensor{Name: name, Type: onnx.Float32, Dims: dims, Raw: append([]byte{}, bytesOf(x)...)}
}

// halves is a constant of float16: small whole numbers by a seed, which have exact ones.
func halves(name string, seed uint64, dims ...int64) onnxtest.Tensor {
	t := onnxtest.Tensor{Name: name, Type: onnx.Float16, Dims: dims, Raw: []byte{}}
	for _, v := range weights(seed, dims...) {
		sign, n, exponent := uint16(0), int(v*100), uint16(25)
		if n < 0 {
			sign, n = 0x8000, -n
		}
		if n == 0 {
			t.Raw = append(t.Raw, 0, 0)
			continue
		}
		for n < 1024 {
			n, exponent = n*2, exponent-1
		}
		t.Raw = binary.LittleEndian.AppendUint16(t.Raw, sign|exponent<<10|uint16(n&1023))
	}
	return t
}

func numbers(t onnxtest.Tensor) []float32 {
	x := make([]float32, len(t.Raw)*8/int(t.Type.Bits()))
	toFloats(x, t.Raw, t.Type)
	return x
}

func node(op string, inputs []string, output string, attributes map[string]any) onnxtest.Node {
	return onnxtest.Node{Op: op, Inputs: inputs, Outputs: []string{output}, Attributes: attributes}
}

// decoder is a language model without attention: embedding, one matrix, a head that is the embedding's transpose.
func decoder() onnxtest.Graph {
	return onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "input_ids", Type: onnx.Int64, Dims: []any{"batch", "length"}}},
		Outputs: []onnxtest.Value{{Name: "logits", Type: onnx.Float32, Dims: []any{"batch", "length", vocab}}},
		Nodes: []onnxtest.Node{
			node("Gather", []string{"embed", "input_ids"}, "x", nil),
			node("MatMul", []string{"x", "w"}, "y", nil),
			node("Transpose", []string{"embed"}, "head", map[string]any{"perm": []int{1, 0}}),
			node("MatMul", []string{"y", "head"}, "logits", nil),
		},
		Tensors: []onnxtest.Tensor{
			tensor("embed", weights(1, vocab, hidden), vocab, hidden),
			tensor("w", weights(2, hidden, hidden), hidden, hidden),
		},
	}
}

// folder writes a graph as a model of layout A, its tensors of 1 KB and more beside it.
func folder(t testing.TB, g onnxtest.Graph) string {
	t.Helper()
	dir := t.TempDir()
	var data []byte
	for i := range g.Tensors {
		if x := &g.Tensors[i]; len(x.Raw) >= 1<<10 {
			x.External = [][2]string{{"location", "model.onnx_data"}, {"offset", strconv.Itoa(len(data))}, {"length", strconv.Itoa(len(x.Raw))}}
			data, x.Raw = append(data, x.Raw...), nil
		}
	}
	put(t, dir, "config.json", configText)
	put(t, dir, "tokenizer.json", tokenizerText)
	put(t, dir, "LICENSE", "free\n")
	put(t, dir, "onnx/model.onnx", string(onnxtest.Encode(g)))
	if data != nil {
		put(t, dir, "onnx/model.onnx_data", string(data))
	}
	return dir
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plan plans what lies in a folder.
func plan(t testing.TB, dir string) (*Plan, error) {
	t.Helper()
	f, err := model.Find(nil, dir, model.FindOptions{})
	if err != nil {
		return nil, err
	}
	p, err := New(f)
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

// written is a model that was written.
type written struct {
	*onnx.Model
	tensors *model.Tensors
	byName  map[string]*onnx.Tensor
}

// convert quantises what lies in a folder, and reads the result.
func convert(t testing.TB, dir string) (*Plan, written) {
	t.Helper()
	p, err := plan(t, dir)
	must(t, err)
	to := filepath.Join(t.TempDir(), "new")
	must(t, p.Write(t.Context(), to, Origin{From: dir}, nil))
	f, err := model.Find(nil, to, model.FindOptions{})
	must(t, err)
	m, tensors, err := f.ReadGraph()
	must(t, err)
	t.Cleanup(func() { _ = tensors.Close() })
	w := written{m, tensors, map[string]*onnx.Tensor{}}
	for i := range m.Graph.Initializers {
		w.byName[m.Graph.Initializers[i].Name] = &m.Graph.Initializers[i]
	}
	return p, w
}

// find is the only node of that kind.
func (w written) find(t testing.TB, op string) *onnx.Node {
	t.Helper()
	var found *onnx.Node
	for i := range w.Graph.Nodes {
		if w.Graph.Nodes[i].Op == op {
			if found != nil {
				t.Fatalf("there are two nodes %s", op)
			}
			found = &w.Graph.Nodes[i]
		}
	}
	if found == nil {
		t.Fatalf("there is no node %s", op)
	}
	return found
}

// products are the nodes MatMulNBits.
func (w written) products() (list []*onnx.Node) {
	for i := range w.Graph.Nodes {
		if w.Graph.Nodes[i].Op == "MatMulNBits" {
			list = append(list, &w.Graph.Nodes[i])
		}
	}
	return list
}

// matrix is what a MatMulNBits node's weights stand for, (N, K).
func (w written) matrix(t testing.TB, n *onnx.Node) []float32 {
	t.Helper()
	k, rows, bits := int(n.Attribute("K").Int), int(n.Attribute("N").Int), int(n.Attribute("bits").Int)
	codes, err := w.tensors.Read(w.byName[n.Inputs[1]])
	must(t, err)
	scales, err := w.tensors.Read(w.byName[n.Inputs[2]])
	must(t, err)
	blocks := (k + Block - 1) / Block
	var x []float32
	for row := range rows {
		for i := range k {
			at := row*blocks*Block + i
			q := int(codes[at*bits/8]>>(at*bits%8))&(1<<bits-1) - 1<<(bits-1)
			s := math.Float32frombits(binary.LittleEndian.Uint32(scales[4*(row*blocks+i/Block):]))
			x = append(x, float32(q)*s)
		}
	}
	return x
}

// off is the root of the mean squared difference over that of the numbers.
func off(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		d += float64(got[i]-want[i]) * float64(got[i]-want[i])
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}

// turned is the transpose of a matrix with so many columns.
func turned(x []float32, columns int) []float32 {
	y := make([]float32, len(x))
	rows := len(x) / columns
	for i := range x {
		y[i%columns*rows+i/columns] = x[i]
	}
	return y
}
