package plain

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

func integer(n *onnx.Node, name string, otherwise int64) int64 {
	if a := n.Attribute(name); a != nil {
		return a.Int
	}
	return otherwise
}

func attribute(name string, v int64) onnx.Attribute { return onnx.Attribute{Name: name, Int: v} }

// add appends a node with one output.
func (w *writer) add(op, out string, inputs []string, attributes ...onnx.Attribute) string {
	w.nodes = append(w.nodes, onnx.Node{Name: out, Op: op, Inputs: inputs, Outputs: []string{out}, Attributes: attributes})
	return out
}

// constant adds a constant once for each name.
func (w *writer) constant(name string, kind onnx.DataType, data []byte, dims ...int64) string {
	if !w.made[name] {
		w.made[name] = true
		w.bytes += int64(len(data))
		w.graph.Initializers = append(w.graph.Initializers, onnx.Tensor{Name: name, Type: kind, Dims: dims, Data: data})
	}
	return name
}

func (w *writer) floats(name string, values []float32, dims ...int64) string {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return w.constant(name, onnx.Float32, data, dims...)
}

// list is a constant of integers, called by its values.
func (w *writer) list(values ...int64) string {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	return w.constant(fmt.Sprintf("plain.list%v", values), onnx.Int64, data, int64(len(values)))
}

func (w *writer) number(v int64) string {
	return w.constant(fmt.Sprintf("plain.number.%d", v), onnx.Int64, binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

const (
	lengthName = "plain.length" // how many tokens there are
	lastName   = "plain.last"   // the last one's place
)

// begin fills the window up behind the tokens, whose values do not depend on what follows: (1, n) becomes (1, window).
func (w *writer) begin() (ids string) {
	at := w.spec.InputIDs
	n := w.add("Gather", lengthName, []string{w.add("Shape", "plain.shape", []string{at}), w.number(1)}, attribute("axis", 0))
	w.add("Sub", lastName, []string{n, w.number(1)})
	fill := w.constant("plain.fill", onnx.Int64, make([]byte, 8*w.window), 1, w.window)
	long := w.add("Concat", "plain.long", []string{at, fill}, attribute("axis", 1))
	cut := w.add("Slice", "plain.cut", []string{long, w.list(0), w.list(w.window), w.list(1)})
	return w.add("Reshape", "plain.ids", []string{cut, w.list(1, w.window)})
}

// lastRow turns the choice of the window's last row into that of the last token's.
func (w *writer) lastRow(n *onnx.Node) {
	index := w.constants[n.Input(1)]
	if values, ok := index.Ints(); ok && len(values) == 1 && values[0] == -1 && len(index.Dims) == 0 && integer(n, "axis", 0) == 1 {
		n.Inputs, n.Span = []string{n.Inputs[0], lastName}, onnx.Span{}
		w.rows = true
	}
}

// end cuts the logits of what was filled up.
func (w *writer) end() {
	name := w.spec.Logits
	for i := range w.nodes {
		if at := slices.Index(w.nodes[i].Outputs, name); at >= 0 {
			w.nodes[i].Outputs = slices.Clone(w.nodes[i].Outputs)
			w.nodes[i].Outputs[at], w.nodes[i].Span = "plain.logits", onnx.Span{}
		}
	}
	n := w.add("Reshape", "plain.lengths", []string{lengthName, w.list(1)})
	w.add("Slice", name, []string{"plain.logits", w.list(0), n, w.list(1)})
	w.nodes[len(w.nodes)-1].Name = "plain.end" // the node that made the logits may be called as they are
}

// norm is a root mean square norm of x: x / sqrt(mean(x * x) + epsilon) * weight.
func (w *writer) norm(n *onnx.Node, x, weight, y string) error {
	if x == "" || weight == "" || y == "" || integer(n, "axis", -1) != -1 || n.Output(1) != "" {
		return w.refuseNode(n, "its inputs or its axis are not known here")
	}
	epsilon := float32(1e-5)
	if a := n.Attribute("epsilon"); a != nil {
		epsilon = a.Float
	}
	at := n.Output(0) + "/plain/"
	square := w.add("Mul", at+"square", []string{x, x})
	mean := w.add("ReduceMean", at+"mean", []string{square, w.list(-1)}, attribute("keepdims", 1))
	sum := w.add("Add", at+"sum", []string{mean, w.floats(fmt.Sprintf("plain.epsilon.%g", epsilon), []float32{epsilon}, 1)})
	root := w.add("Sqrt", at+"root", []string{sum})
	w.add("Mul", y, []string{w.add("Div", at+"unit", []string{x, root}), weight})
	return nil
}

// skipNorm is the norm of a sum, which goes on as the fourth output.
func (w *writer) skipNorm(n *onnx.Node) error {
	if n.Input(4) != "" || n.Output(1) != "" || n.Output(2) != "" || n.Input(0) == "" || n.Input(1) == "" {
		return w.refuseNode(n, "its inputs or outputs are not known here")
	}
	sum := n.Output(3)
	if sum == "" {
		sum = n.Output(0) + "/plain/added"
	}
	if bias := n.Input(3); bias != "" {
		at := w.add("Add", n.Output(0)+"/plain/skip", []string{n.Inputs[0], n.Inputs[1]})
		w.add("Add", sum, []string{at, bias})
	} else {
		w.add("Add", sum, []string{n.Inputs[0], n.Inputs[1]})
	}
	return w.norm(n, sum, n.Input(2), n.Output(0))
}
