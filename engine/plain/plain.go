// Package plain gives a small model another graph that computes the same: of ONNX's own operators with float32 weights, and with fixed shapes inside,
// for execution providers that know no others. CoreML is one: it has nothing for quantised weights and fused attention, compiles for
// fixed shapes, and refuses empty inputs, as a cache is at first.
//
// The graph has no cache and a window of tokens that it always computes whole: it proves a provider, and is no way to run a model of size.
package plain

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// ErrRefused is wrapped by errors about a graph that this package cannot write anew.
var ErrRefused = errors.New("it has no plain form")

const (
	opsetLeast = 18      // from here on axes are inputs
	bytesMax   = 1 << 30 // of the graph, which is held in memory
	windowMax  = 4096
)

// FS is the folder of the model in fsys with the plain graph in place of its own, for sequences of at most window tokens, one at a time.
// The graph is held in memory. The error wraps ErrRefused where an operator or a tensor is not what is known here.
func FS(fsys fs.FS, window int) (fs.FS, error) {
	if window < 1 || window > windowMax {
		return nil, fmt.Errorf("plain: a window of %d tokens was asked for, expected 1 to %d", window, windowMax)
	}
	files, err := model.Find(fsys, "", model.FindOptions{})
	if err != nil {
		return nil, err
	}
	spec, err := files.Load(model.Signature{})
	if err != nil {
		return nil, err
	}
	m, tensors, err := files.ReadGraph()
	if err != nil {
		return nil, err
	}
	bytes, err := write(m, spec, tensors, window)
	if err := errors.Join(err, tensors.Close()); err != nil {
		return nil, fmt.Errorf("plain: rewrite %s: %w", files.Graph, err)
	}
	return replaced{fsys, files.Graph, bytes}, nil
}

// writer turns one graph into the plain one, node by node.
type writer struct {
	graph   *onnx.Graph
	spec    *model.Spec
	tensors *model.Tensors
	window  int64

	constants map[string]*onnx.Tensor // initializers, and the values of Constant nodes
	nodes     []onnx.Node
	made      map[string]bool // new constants
	rows      bool            // the language head computes the last row alone
	bytes     int64           // of new constants
}

func write(m *onnx.Model, spec *model.Spec, tensors *model.Tensors, window int) ([]byte, error) {
	w := &writer{graph: m.Graph, spec: spec, tensors: tensors, window: int64(window), constants: map[string]*onnx.Tensor{}, made: map[string]bool{}}
	switch {
	case len(m.Functions) > 0:
		return nil, w.refuse("it has functions of its own")
	case spec.LogitsType != "float32":
		return nil, w.refuse("it computes in %s", spec.LogitsType)
	}
	var own []onnx.Opset
	for _, o := range m.Opsets {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			if o.Version < opsetLeast {
				return nil, w.refuse("it is of opset %d, expected %d or newer", o.Version, opsetLeast)
			}
			own = append(own, o)
		}
	}
	m.Opsets = own
	if err := w.rewrite(); err != nil {
		return nil, err
	}
	source, err := tensors.Graph()
	if err != nil {
		return nil, err
	}
	return onnx.Write(m, source)
}

func (w *writer) refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

func (w *writer) refuseNode(n *onnx.Node, format string, args ...any) error {
	return w.refuse("%s %.80q: %s", n.Op, n.Name, fmt.Sprintf(format, args...))
}

// rewrite replaces nodes, inputs and outputs, and drops what nothing needs any more.
func (w *writer) rewrite() error {
	g := w.graph
	for i := range g.Initializers {
		w.constants[g.Initializers[i].Name] = &g.Initializers[i]
	}
	for i := range g.Nodes {
		if a := g.Nodes[i].Attribute("value"); g.Nodes[i].Op == "Constant" && a != nil && a.Tensor != nil && len(g.Nodes[i].Outputs) == 1 {
			w.constants[g.Nodes[i].Outputs[0]] = a.Tensor
		}
	}
	ids, logits := w.begin(), w.spec.Logits
	for i := range g.Nodes {
		n := g.Nodes[i]
		for j, in := range n.Inputs {
			if in == w.spec.InputIDs {
				n.Inputs[j], n.Span = ids, onnx.Span{}
			}
		}
		if err := w.node(&n); err != nil {
			return err
		}
	}
	if !w.rows {
		w.end()
	}
	g.Nodes = w.nodes
	one := onnx.Dim{Size: 1}
	g.Inputs = []onnx.Value{{Name: w.spec.InputIDs, Type: onnx.Int64, Shape: []onnx.Dim{one, {Size: -1, Symbol: "length"}}}}
	length := one
	if !w.rows {
		length = onnx.Dim{Size: -1, Symbol: "length"}
	}
	g.Outputs = []onnx.Value{{Name: logits, Type: onnx.Float32, Shape: []onnx.Dim{one, length, {Size: int64(w.spec.Vocab)}}}}
	g.Sweep()
	if err := w.inline(); err != nil {
		return err
	}
	return w.check()
}

// node writes one node anew, or as it is.
func (w *writer) node(n *onnx.Node) error {
	if n.Domain == "" || n.Domain == "ai.onnx" {
		switch n.Op {
		case "SimplifiedLayerNormalization":
			return w.norm(n, n.Input(0), n.Input(1), n.Output(0))
		case "Gather":
			w.lastRow(n)
		}
		w.nodes = append(w.nodes, *n)
		return nil
	}
	switch n.Op {
	case "MatMulNBits":
		return w.product(n)
	case "GatherBlockQuantized":
		return w.lookup(n)
	case "SkipSimplifiedLayerNormalization":
		return w.skipNorm(n)
	case "GroupQueryAttention":
		return w.attention(n)
	}
	w.nodes = append(w.nodes, *n) // refused if it is still needed
	return nil
}

// inline takes in weights that lie in another file.
func (w *writer) inline() error {
	for i := range w.graph.Initializers {
		t := &w.graph.Initializers[i]
		if t.External != nil {
			data, err := w.tensors.Read(t)
			if err != nil {
				return err
			}
			w.bytes += int64(len(data))
			t.Data, t.External, t.Span = data, nil, onnx.Span{}
		}
		if w.bytes > bytesMax {
			return w.tooLarge()
		}
	}
	return nil
}

func (w *writer) tooLarge() error { return w.refuse("it would be larger than %d MiB", bytesMax>>20) }

// check refuses what is left of other operators, and whatever comes from tensors that are no longer there.
func (w *writer) check() error {
	have := map[string]bool{"": true, w.spec.InputIDs: true}
	for _, t := range w.graph.Initializers {
		have[t.Name] = true
	}
	for i := range w.graph.Nodes {
		n := &w.graph.Nodes[i]
		if n.Domain != "" && n.Domain != "ai.onnx" {
			return w.refuseNode(n, "an operator of %.80q that is not known here", n.Domain)
		}
		for _, a := range n.Attributes {
			if len(a.Graphs) > 0 {
				return w.refuseNode(n, "it has branches")
			}
		}
		for _, in := range n.Inputs {
			if !have[in] {
				return w.refuseNode(n, "it needs %.80q, which the plain form does not have", in)
			}
		}
		for _, out := range n.Outputs {
			have[out] = true
		}
	}
	return nil
}
