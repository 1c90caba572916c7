package derive_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// plan derives the graph of a model.
func plan(t *testing.T, files model.Files, o derive.Options) (*derive.Plan, *model.File, error) {
	t.Helper()
	spec, err := files.Load(model.Signature{})
	if err != nil {
		t.Fatal(err)
	}
	m, tensors, err := files.ReadGraph()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tensors.Close() })
	file, err := tensors.Graph()
	if err != nil {
		t.Fatal(err)
	}
	o.Read = tensors.Read
	p, err := derive.Derive(m, spec, o)
	return p, file, err
}

func find(t *testing.T, dir string) model.Files {
	t.Helper()
	files, err := model.Find(os.DirFS(dir), dir, model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// counts is how often each operator stands in a graph.
func counts(g *onnx.Graph) map[string]int {
	n := map[string]int{}
	for i := range g.Nodes {
		n[g.Nodes[i].Op]++
	}
	return n
}

func TestDeriveEmbedded(t *testing.T) {
	files, err := model.Find(tiny.FS(), "", model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, file, err := plan(t, files, derive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const layers = 6
	b, err := onnx.Write(p.Model, file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("the written graph cannot be read: %v", err)
	}
	got := counts(again.Graph)
	for op, want := range map[string]int{"Linear": 3*layers + 1, "Gated": layers, "Embed": 1, "Attention": layers, "MatMulNBits": 0, "Sigmoid": 0, "GroupQueryAttention": 0, "GatherBlockQuantized": 0} {
		if got[op] != want {
			t.Errorf("%s: got %d nodes, want %d (all: %v)", op, got[op], want, got)
		}
	}
	if len(p.Matrices) != 5*layers+1 {
		t.Errorf("got %d matrices; want %d, the embedding being the language head's", len(p.Matrices), 5*layers+1)
	}
	if !p.Rows || again.Graph.Inputs[len(again.Graph.Inputs)-1].Name != derive.RowsInput {
		t.Errorf("got inputs %v; want %s among them", again.Graph.Inputs, derive.RowsInput)
	}
	if len(p.Kept) != 0 || p.Joint() != "" {
		t.Errorf("kept: got %v, %q; want nothing", p.Kept, p.Joint())
	}
	if len(b) > 128<<10 {
		t.Errorf("the derived graph has %d bytes; want none of the weights in it", len(b))
	}
}

// Two products that read the same codes in different shapes are two matrices: the second stays with the runtime.
func TestDeriveSharedCodes(t *testing.T) {
	files, err := model.Find(tiny.FS(), "", model.FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := files.Load(model.Signature{})
	if err != nil {
		t.Fatal(err)
	}
	m, tensors, err := files.ReadGraph()
	if err != nil {
		t.Fatal(err)
	}
	defer tensors.Close()
	var first *onnx.Node // of the first layer: 512 outputs of 256 inputs, made into 256 of 512 for another node
	for i := range m.Graph.Nodes {
		if n := &m.Graph.Nodes[i]; n.Op == "MatMulNBits" {
			if first == nil {
				first = n
				continue
			}
			n.Inputs = append([]string{n.Inputs[0]}, first.Inputs[1:]...)
			for j := range n.Attributes {
				switch a := &n.Attributes[j]; a.Name {
				case "K":
					a.Int = 512
				case "N":
					a.Int = 256
				}
			}
			break
		}
	}
	p, err := derive.Derive(m, spec, derive.Options{Read: tensors.Read})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Kept) != 1 || !strings.Contains(p.Kept[0].Why, "another shape") {
		t.Errorf("got kept %v; want the product whose codes are another's", p.Kept)
	}
	if why := p.Joint(); why != p.Kept[0].String() {
		t.Errorf("tokens computed together: got %q, want the product that stays with the runtime", why)
	}
}

// Tokens have the same bits together and alone only where every node is known for it.
func TestJoint(t *testing.T) {
	for _, c := range []struct {
		op, domain string
		want       string
	}{
		{"Linear", derive.Domain, ""},
		{"Add", "", ""},
		{"SkipSimplifiedLayerNormalization", "com.microsoft", ""},
		{"MatMul", "", "MatMul n stays with the runtime"},
		{"MatMulNBits", "com.microsoft", "MatMulNBits n stays with the runtime"},
		{"GroupQueryAttention", "com.microsoft", "GroupQueryAttention n stays with the runtime"},
		{"Tanh", "", "Tanh n stays with the runtime"},
		{"If", "", "If n stays with the runtime"},
	} {
		p := derive.Plan{Model: &onnx.Model{Graph: &onnx.Graph{Nodes: []onnx.Node{{Op: "Shape"}, {Name: "n", Op: c.op, Domain: c.domain}}}}}
		if got := p.Joint(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.op, got, c.want)
		}
	}
}

// What has no quantised product stays as it is.
func TestDeriveNothing(t *testing.T) {
	for _, dir := range []string{"a-fp32", "a-nocache", "b-fp32", "c-fp32", "a-fp16"} {
		if _, _, err := plan(t, find(t, "../testdata/"+dir), derive.Options{}); !errors.Is(err, derive.ErrNothing) {
			t.Errorf("%s: got error %v, want %v", dir, err, derive.ErrNothing)
		}
	}
}
