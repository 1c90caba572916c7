package derive_test

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// logitsGraph takes logits and gives them back, with the choice of tokens behind.
func logitsGraph(t *testing.T, vocab int, kind onnx.DataType) *ort.Session {
	t.Helper()
	shape := []onnx.Dim{{Size: -1, Symbol: "batch"}, {Size: -1, Symbol: "length"}, {Size: int64(vocab)}}
	m := &onnx.Model{IRVersion: 7, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{
		Name:    "logits",
		Nodes:   []onnx.Node{{Name: "same", Op: "Identity", Inputs: []string{"in"}, Outputs: []string{"logits"}}},
		Inputs:  []onnx.Value{{Name: "in", Type: kind, Shape: shape}},
		Outputs: []onnx.Value{{Name: "logits", Type: kind, Shape: shape}},
	}}
	if err := derive.Top(m, &model.Spec{Logits: "logits", Vocab: vocab, LogitsType: kind.String()}); err != nil {
		t.Fatal(err)
	}
	b, err := onnx.Write(m, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ortest.Env(t).OpenSessionBytes(b, ort.SessionOptions{Threads: 1, RecordPlacement: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Of every row's last token: the largest logits, their ids, their probabilities at a temperature, and the row, whether it is cut or not.
func TestTop(t *testing.T) {
	const rows, length, scale = 2, 3, 1.25
	for _, vocab := range []int{1, 60, 128, 1000, 64 * 256, 64*256 + 1} {
		s := logitsGraph(t, vocab, onnx.Float32)
		if cut := vocab == 64*256; cut != slices.ContainsFunc(nodes(t, s), func(op string) bool { return op == "Reshape" }) {
			t.Errorf("vocabulary %d: the row is cut: %v", vocab, !cut)
		}
		random := rand.New(rand.NewPCG(1, uint64(vocab)))
		in, err := ortest.Env(t).NewTensor(ort.Float32, rows, length, int64(vocab))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		all := ort.View[float32](in)
		for i := range all {
			all[i] = float32(math.Round(random.NormFloat64()*64) / 16) // with equals
		}
		values, ids, probs, row := runTop(t, s, in, scale)
		k := derive.TopCount(vocab)
		for r := range rows {
			scale := scale / float64(r+1)
			last := all[(r*length+length-1)*vocab:][:vocab]
			if !slices.Equal(row[r*vocab:][:vocab], last) {
				t.Fatalf("vocabulary %d: the row is another one", vocab)
			}
			sorted := slices.SortedFunc(slices.Values(last), func(a, b float32) int { return cmp.Compare(b, a) })
			sum := 0.0
			for _, v := range last {
				sum += math.Exp(scale * float64(v-sorted[0]))
			}
			seen := map[int64]bool{}
			for i := range k {
				v, id, p := values[r*k+i], ids[r*k+i], probs[r*k+i]
				want := math.Exp(scale*float64(v-sorted[0])) / sum
				if v != sorted[i] || seen[id] || last[id] != v || math.Abs(float64(p)-want) > 1e-5*want {
					t.Fatalf("vocabulary %d, row %d, place %d: logit %v of token %d (%v), probability %v; want %v and %v", vocab, r, i, v, id, last[id], p, sorted[i], want)
				}
				seen[id] = true
			}
		}
	}
}

// Half-precision logits come as float32, and what is no number in a row shows.
func TestTopOfHalvesAndFaults(t *testing.T) {
	const vocab = 64 * 256
	s := logitsGraph(t, vocab, onnx.Float16)
	in, err := ortest.Env(t).NewTensor(ort.Float16, 1, 1, vocab)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	const one, two, nan, inf = 0x3c00, 0x4000, 0x7e00, 0x7c00
	all := ort.View[uint16](in)
	all[9000] = two
	all[123] = one
	values, ids, probs, _ := runTop(t, s, in, 1)
	if values[0] != 2 || ids[0] != 9000 || values[1] != 1 || ids[1] != 123 || !(probs[0] > probs[1]) {
		t.Errorf("got %v of %v with %v", values[:2], ids[:2], probs[:2])
	}
	if values, _, probs, _ := runTop(t, s, in, 1e30); values[0] != 2 || probs[0] != 1 || probs[1] != 0 {
		t.Errorf("coldest: probabilities %v", probs[:2])
	}
	for _, fault := range []uint16{nan, inf} {
		all[5] = fault
		if values, _, probs, _ := runTop(t, s, in, 1); probs[0] > 0 && !math.IsInf(float64(values[0]), 0) {
			t.Errorf("a row with %x: logits %v, probabilities %v", fault, values[:2], probs[:2])
		}
	}
}

func TestTopWhereItCannotBe(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *onnx.Model, s *model.Spec)
		want   string
	}{
		{"an old opset", func(m *onnx.Model, _ *model.Spec) { m.Opsets[0].Version = 10 }, "opset 10"},
		{"no opset", func(m *onnx.Model, _ *model.Spec) { m.Opsets = nil }, "opset 0"},
		{"functions", func(m *onnx.Model, _ *model.Spec) { m.Functions = []onnx.Function{{Name: "f"}} }, "functions"},
		{"no vocabulary", func(_ *onnx.Model, s *model.Spec) { s.Vocab = 0 }, "vocabulary"},
		{"our kernels' graph", func(_ *onnx.Model, s *model.Spec) { s.LogitsRows = "rows" }, "original"},
		{"a name that is taken", func(m *onnx.Model, _ *model.Spec) {
			m.Graph.Nodes[0].Outputs = append(m.Graph.Nodes[0].Outputs, derive.TopRow)
		}, derive.TopRow},
		{"an input of that name", func(m *onnx.Model, _ *model.Spec) {
			m.Graph.Inputs = append(m.Graph.Inputs, onnx.Value{Name: derive.TopScale})
		}, derive.TopScale},
	} {
		m := &onnx.Model{Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{Nodes: []onnx.Node{{Op: "Identity", Inputs: []string{"in"}, Outputs: []string{"logits"}}}}}
		s := &model.Spec{Logits: "logits", Vocab: 10, LogitsType: "float32"}
		c.change(m, s)
		before := len(m.Graph.Nodes)
		if err := derive.Top(m, s); err == nil || !strings.Contains(err.Error(), c.want) || len(m.Graph.Nodes) != before {
			t.Errorf("%s: %v, and %d new nodes", c.name, err, len(m.Graph.Nodes)-before)
		}
	}
}

func nodes(t *testing.T, s *ort.Session) (ops []string) {
	t.Helper()
	list, err := s.Placement()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		ops = append(ops, n.Op)
	}
	return ops
}

func runTop(t *testing.T, s *ort.Session, in *ort.Value, scale float32) (values []float32, ids []int64, probs, row []float32) {
	t.Helper()
	c, err := s.NewCall([]string{"in", derive.TopScale}, []string{derive.TopLogits, derive.TopIDs, derive.TopProbs, derive.TopRow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	scales, err := ortest.Env(t).NewTensor(ort.Float32, in.Dim(0), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { scales.Close() })
	for i, view := 0, ort.View[float32](scales); i < len(view); i++ {
		view[i] = scale / float32(i+1)
	}
	c.SetInput(0, in)
	c.SetInput(1, scales)
	if err := c.Run(nil); err != nil {
		t.Fatal(err)
	}
	var out [4]*ort.Value
	for i := range out {
		if out[i], err = c.Output(i); err != nil {
			t.Fatal(err)
		}
		v := out[i]
		t.Cleanup(func() { v.Close() })
	}
	return ort.View[float32](out[0]), ort.View[int64](out[1]), ort.View[float32](out[2]), ort.View[float32](out[3])
}
