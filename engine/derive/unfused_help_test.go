package derive

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// opened is a graph with what FindUnfused needs beside it.
type opened struct {
	*onnx.Model
	spec *model.Spec
	read oracle.Read
}

func (o opened) find() ([]Unfused, error) { return FindUnfused(o.Model, o.spec, o.read) }

// openGraph reads a graph, packed or not; its longest text has 128 tokens.
func openGraph(t testing.TB, path string) opened {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	m, err := onnx.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	read := oracle.Inline(bytes.NewReader(b), func(x *onnx.Tensor) ([]byte, error) {
		f, err := os.Open(filepath.Join(filepath.Dir(path), x.External.Location))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b := make([]byte, x.External.Length)
		_, err = f.ReadAt(b, x.External.Offset)
		return b, err
	})
	return opened{m, specOf(m), read}
}

// specOf binds inputs and outputs by the names that all exporters use.
func specOf(m *onnx.Model) *model.Spec {
	s := &model.Spec{ContextMax: 128}
	present := strings.NewReplacer("past_key_values", "present", "past_", "present_")
	for _, v := range m.Graph.Inputs {
		switch {
		case v.Name == "input_ids":
			s.InputIDs = v.Name
		case v.Name == "attention_mask":
			s.Mask = v.Name
		case v.Name == "position_ids":
			s.Positions = v.Name
		case v.Name == "num_logits_to_keep":
			s.NumLogits = v.Name
		case strings.HasSuffix(v.Name, ".key"):
			value := strings.TrimSuffix(v.Name, "key") + "value"
			s.Past = append(s.Past, model.KVNames{Key: v.Name, Value: value})
			s.Present = append(s.Present, model.KVNames{Key: present.Replace(v.Name), Value: present.Replace(value)})
		case strings.HasPrefix(v.Name, "past_") && !strings.HasSuffix(v.Name, ".value"):
			s.Combined = true
			s.Past = append(s.Past, model.KVNames{Key: v.Name, Value: v.Name})
			s.Present = append(s.Present, model.KVNames{Key: present.Replace(v.Name), Value: present.Replace(v.Name)})
		}
		if n := len(v.Shape); strings.HasPrefix(v.Name, "past_") {
			s.KVHeads, s.HeadDim = int(v.Shape[n-3].Size), int(v.Shape[n-1].Size)
		}
	}
	return s
}

// node is the one that makes a tensor.
func (o opened) node(t testing.TB, output string) *onnx.Node {
	t.Helper()
	for i := range o.Graph.Nodes {
		if slices.Contains(o.Graph.Nodes[i].Outputs, output) {
			return &o.Graph.Nodes[i]
		}
	}
	t.Fatalf("no node makes %q", output)
	return nil
}

// insert adds nodes before the one that reads a tensor first, which then reads another instead.
func (o opened) insert(t testing.TB, at *onnx.Node, old, fresh string, nodes ...onnx.Node) {
	t.Helper()
	i := slices.IndexFunc(o.Graph.Nodes, func(n onnx.Node) bool { return first(&n) == first(at) })
	j := slices.Index(at.Inputs, old)
	if i < 0 || j < 0 {
		t.Fatalf("%q does not read %q", first(at), old)
	}
	at.Inputs[j] = fresh
	o.Graph.Nodes = slices.Insert(o.Graph.Nodes, i, nodes...)
}

// sort puts nodes after those that they read from.
func (o opened) sort() {
	made := map[string]bool{}
	rest := o.Graph.Nodes
	all := map[string]bool{}
	for i := range rest {
		for _, out := range rest[i].Outputs {
			all[out] = true
		}
	}
	var sorted []onnx.Node
	for len(rest) > 0 {
		var later []onnx.Node
		for _, n := range rest {
			if slices.ContainsFunc(n.Inputs, func(in string) bool { return all[in] && !made[in] }) {
				later = append(later, n)
				continue
			}
			for _, out := range n.Outputs {
				made[out] = true
			}
			sorted = append(sorted, n)
		}
		if len(later) == len(rest) {
			return // a cycle
		}
		rest = later
	}
	o.Graph.Nodes = sorted
}

func op(kind, output string, inputs ...string) onnx.Node {
	return onnx.Node{Op: kind, Inputs: inputs, Outputs: []string{output}}
}

// floats is a Constant node of float32.
func floats(name string, dims []int64, values ...float32) onnx.Node {
	return constantOf(name, onnx.Tensor{Type: onnx.Float32, Dims: dims, Data: encode(values)})
}

func integers(name string, dims []int64, values ...int64) onnx.Node {
	return constantOf(name, onnx.Tensor{Type: onnx.Int64, Dims: dims, Data: encode(values)})
}

func constantOf(name string, t onnx.Tensor) onnx.Node {
	n := op("Constant", name)
	n.Attributes = []onnx.Attribute{{Name: "value", Tensor: &t}}
	return n
}

func encode(values any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, values); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.Bytes()
}

// agrees computes the graph's attention and the operator's from the numbers that were found, in a setting that the recogniser does
// not look at.
func (o opened) agrees(t testing.TB, found []Unfused) {
	t.Helper()
	f := &finder{graph: o.Graph, spec: o.spec}
	f.index()
	p := &prover{finder: f, oracle: oracle.New(o.Model, o.read), read: o.read}
	for _, u := range found {
		l := &layer{Unfused: u, scale: float64(u.Scale), softcap: float64(u.Softcap), rotaryScale: float64(u.RotaryScale)}
		for _, x := range u.InverseFrequencies {
			l.frequencies = append(l.frequencies, float64(x))
		}
		p.layers = append(p.layers, l)
	}
	s := setting{2, 7, 44, 0}
	r := p.run(s, whole)
	for _, l := range p.layers {
		_, _, want := l.operator(s)
		out, err := r.Tensor(l.Output)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Values(out)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if !(math.Abs(got[i]-w) < 1e-4) {
				t.Fatalf("%v: element %d of the output is %v in the graph, %v of the operator", l, i, got[i], w)
			}
		}
	}
}
