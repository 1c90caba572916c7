package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// branched gives every product that an adapter may add to inputs for one, as exporters do that leave an adapter out of the graph: of any rank, and with an
// empty matrix where a run gives none. change edits the names of one module's inputs, and what is made of them.
func branched(t *testing.T, change func(a, b *string, nodes []onnx.Node)) func(m *onnx.Model, _ *model.Tensors) {
	return func(m *onnx.Model, _ *model.Tensors) {
		g := m.Graph
		dims := map[string][]int64{}
		for _, w := range g.Initializers {
			dims[w.Name] = w.Dims
		}
		var nodes []onnx.Node
		count := 0
		for _, n := range g.Nodes {
			at := strings.LastIndex(n.Name, "_proj/MatMul")
			if at < 0 || n.Op != "MatMul" && n.Op != "MatMulNBits" || strings.Contains(n.Name, "qkv_proj") {
				nodes = append(nodes, n)
				continue
			}
			count++
			inputs, outputs := int64(0), int64(0)
			if k := n.Attribute("K"); k != nil {
				inputs, outputs = k.Int, n.Attribute("N").Int
			} else if d := dims[n.Inputs[1]]; len(d) == 2 {
				inputs, outputs = d[0], d[1]
			} else {
				t.Fatalf("%s has weights of shape %v", n.Name, d)
			}
			module := strings.ReplaceAll(strings.TrimPrefix(n.Name[:at], "/"), "/", ".") + "_proj"
			a, b := module+".lora_A.weight", module+".lora_B.weight"
			x, y := n.Inputs[0], n.Outputs[0]
			n.Outputs, n.Span = []string{y + ".own"}, onnx.Span{}
			made := []onnx.Node{
				{Name: y + "/lora_A", Op: "MatMul", Inputs: []string{x, a}, Outputs: []string{y + ".down"}},
				{Name: y + "/lora_B", Op: "MatMul", Inputs: []string{y + ".down", b}, Outputs: []string{y + ".up"}},
				{Name: y + "/lora_add", Op: "Add", Inputs: []string{y + ".own", y + ".up"}, Outputs: []string{y}},
			}
			if change != nil && count == 1 {
				change(&a, &b, made)
			}
			rank := onnx.Dim{Size: -1, Symbol: "rank"}
			g.Inputs = append(g.Inputs, onnx.Value{Name: a, Type: onnx.Float32, Shape: []onnx.Dim{{Size: inputs}, rank}}, onnx.Value{Name: b, Type: onnx.Float32, Shape: []onnx.Dim{rank, {Size: outputs}}})
			nodes = append(append(nodes, n), made...)
		}
		if count == 0 {
			t.Fatal("it has no product to add to")
		}
		g.Nodes = nodes
	}
}

// A graph that was exported with inputs for an adapter computes what the same graph without them does: alone, with an .onnx_adapter whose names are those
// of the inputs, with two at once.
func TestGraphsWithInputsForAdapters(t *testing.T) {
	for _, c := range []struct {
		folder  string
		kernels Kernels
	}{{"a-fp32", KernelsAuto}, {"b-fp32", KernelsOff}, {"b-int4", KernelsAuto}, {"b-int4", KernelsExact}} {
		t.Run(fmt.Sprint(c.folder, c.kernels), func(t *testing.T) {
			o := Options{Kernels: c.kernels, Threads: 2}
			m, err := Open(ortest.Env(t), edited(t, c.folder, branched(t, nil)), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			o.Adapters = true
			original := openFixture(t, c.folder, o)
			both := []*Model{original, m}
			for _, m := range both {
				loadFile(t, m, "north", filepath.Join("north", "adapter.onnx_adapter"))
				loadFile(t, m, "south", "south")
			}
			for _, uses := range [][]AdapterUse{nil, {{"north", 1}}, {{"north", 0.5}, {"south", 2}}, nil} {
				want, got := logitsWith(t, original, uses...), logitsWith(t, m, uses...)
				if !sameRows(got, want) {
					t.Errorf("%v: the farthest logits differ by %g, want the same", uses, farthest(got, want))
				}
			}
			other := randomAdapter(t, m, 2, 0.5, 3, "model.layers.0.self_attn.o_proj")
			other.Modules[0].Inputs, other.Modules[0].A = 1, other.Modules[0].A[:2]
			if err := m.LoadAdapter("other", other); err == nil || !strings.Contains(err.Error(), "1 inputs, expected 128") {
				t.Errorf("an adapter of another shape: %v", err)
			}
		})
	}
}

// What was computed with matrices that are fed is what is computed here: the runtime runs the graph as it is, with the file's matrices in its inputs.
func TestInputsForAdaptersMeanTheSame(t *testing.T) {
	env := ortest.Env(t)
	dir := edited(t, "a-nocache", branched(t, nil))
	m, err := Open(env, dir, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a := randomAdapter(t, m, 3, 0.5, 5, allModules(2)...)
	load(t, m, "a", a)
	prompt := []int32{5, 99, 17, 3}
	got := lastLogits(t, m, prompt, AdapterUse{"a", 1})
	want := fedLogits(t, env, dir, prompt, a)
	if far := farthest([][]float32{got}, [][]float32{want}); far > 1e-4 {
		t.Errorf("the farthest logits differ by %g from those of the runtime, want 1e-4 at most", far)
	}
	if far := farthest([][]float32{lastLogits(t, m, prompt)}, [][]float32{want}); far < 0.1 {
		t.Errorf("without the adapter the logits differ by %g: it does nothing", far)
	}
}

func TestInputsForAdaptersThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		fault  string
		change func(a, b *string, nodes []onnx.Node)
	}{
		"the same half": {"two inputs for half A", func(a, b *string, _ []onnx.Node) { *b = strings.Replace(*a, "lora_A", "lora_A.default", 1) }},
		"half is missing": {"one of the two halves is missing", func(_, b *string, nodes []onnx.Node) {
			*b = strings.Replace(*b, "layers.0", "layers.9", 1)
			nodes[1].Inputs[1] = *b
		}},
		"another name":     {"an input whose meaning is not known", func(a, _ *string, _ []onnx.Node) { *a = "matrix" }},
		"another module":   {"it is added to", func(a, b *string, nodes []onnx.Node) { rename(a, b, nodes) }},
		"not read":         {"do not go into two products", func(_, _ *string, nodes []onnx.Node) { nodes[1].Inputs[1] = nodes[0].Inputs[1] }},
		"a scale":          {"a scale in the graph", func(_, _ *string, nodes []onnx.Node) { nodes[2].Op = "Mul" }},
		"something else":   {"it is not added to a product", func(_, _ *string, nodes []onnx.Node) { nodes[2].Inputs[0] = nodes[0].Inputs[0] }},
		"used once more":   {"used elsewhere", func(_, _ *string, nodes []onnx.Node) { nodes[2].Inputs[0] = nodes[0].Outputs[0] }},
		"of other values":  {"it is not added to a product", func(_, _ *string, nodes []onnx.Node) { nodes[0].Inputs[0] = nodes[2].Inputs[0] }},
		"added to itself":  {"no addition alone", func(_, _ *string, nodes []onnx.Node) { nodes[2].Inputs[0] = nodes[2].Inputs[1] }},
		"in another order": {"do not go into two products", func(_, _ *string, nodes []onnx.Node) { slices.Reverse(nodes[0].Inputs) }},
	} {
		dir := edited(t, "b-fp32", branched(t, c.change))
		m, err := Open(ortest.Env(t), dir, Options{Threads: 1})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.fault)
		}
	}
}

// rename gives both inputs the name of another module.
func rename(a, b *string, nodes []onnx.Node) {
	for i, name := range []*string{a, b} {
		*name = strings.Replace(*name, "layers.0", "layers.9", 1)
		nodes[i].Inputs[1] = *name
	}
}

// fedLogits are those of the last token, from the runtime alone: the graph of a folder without a cache, its inputs filled.
func fedLogits(t *testing.T, env *ort.Env, dir string, ids []int32, a *lora.Adapter) []float32 {
	t.Helper()
	files, err := model.Find(nil, dir, model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.OpenSession(files.Path(files.Graph), ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var names []string
	for _, in := range s.Inputs() {
		names = append(names, in.Name)
	}
	call, err := s.NewCall(names, []string{"logits"})
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close()
	tensor := func(kind ort.ElementType, shape ...int) *ort.Value {
		v, err := env.NewTensor(kind, int64(shape[0]), int64(shape[1]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		return v
	}
	for i, name := range names {
		module, half, is := lora.Input(name)
		if !is {
			v := tensor(ort.Int64, 1, len(ids))
			for j, id := range ids {
				ort.View[int64](v)[j] = map[string]int64{"input_ids": int64(id), "attention_mask": 1, "position_ids": int64(j)}[name]
			}
			call.SetInput(i, v)
			continue
		}
		x := a.Modules[slices.IndexFunc(a.Modules, func(x lora.Module) bool { return x.Name == module })]
		rows, columns, from, scale := x.Inputs, x.Rank, x.A, float32(1)
		if half == 'B' {
			rows, columns, from, scale = x.Rank, x.Outputs, x.B, x.Scale
		}
		v := tensor(ort.Float32, rows, columns)
		for r := range rows {
			for c := range columns {
				ort.View[float32](v)[r*columns+c] = scale * from[c*rows+r]
			}
		}
		call.SetInput(i, v)
	}
	if err := call.Run(nil); err != nil {
		t.Fatal(err)
	}
	out, err := call.Output(0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	logits := ort.View[float32](out)
	return slices.Clone(logits[len(logits)-len(logits)/len(ids):])
}
