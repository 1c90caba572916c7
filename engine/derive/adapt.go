package derive

import (
	"errors"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Adapt plans a graph that stays with the runtime, with places for adapters behind its matrix products. m is edited.
func Adapt(m *onnx.Model) (*Plan, error) {
	if len(m.Functions) > 0 {
		return nil, errors.New("derive: the graph has functions of its own, and so no place for adapters")
	}
	if err := unbranch(m.Graph); err != nil {
		return nil, err
	}
	p := &Plan{Model: m}
	p.adapt()
	m.Opsets = append(m.Opsets, onnx.Opset{Domain: Domain, Version: 1})
	return p, nil
}

// adapt puts a node of ours behind each product of constant weights that the runtime computes. It takes the product's output, or that of the
// addition of a bias, by its name, so that nothing else changes and the runtime fuses what it fused.
func (p *Plan) adapt() {
	g := p.Model.Graph
	d := &deriver{graph: g}
	d.index()
	behind := map[int][]onnx.Node{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		weights, inputs, outputs, kind := d.product(n)
		if kind != onnx.Float32 && kind != onnx.Float16 {
			continue
		}
		x, last := d.end(n, i, outputs)
		if last < 0 {
			continue
		}
		target := p.addTarget(n, weights, inputs, outputs, false)
		if target < 0 {
			continue
		}
		behind[last] = addition(x, &g.Nodes[last], target, kind)
	}
	var nodes []onnx.Node
	for i := range g.Nodes {
		nodes = append(append(nodes, g.Nodes[i]), behind[i]...)
	}
	g.Nodes = nodes
}

// end is what goes into a product, and the node that makes what it gives in the end: the product, what scales it, or the addition of a bias. It is -1 where a product
// of integers is followed by something else.
func (d *deriver) end(n *onnx.Node, i, outputs int) (x string, last int) {
	x, last = n.Inputs[0], i
	if ofIntegers(n) {
		if x, last = d.dynamic(n, i); last < 0 {
			return "", -1
		}
	}
	if next, at := d.onlyReader(d.graph.Nodes[last].Outputs[0]); next != nil && next.Op == "Add" && next.Domain == "" && len(next.Outputs) == 1 &&
		slices.ContainsFunc(next.Inputs, func(in string) bool { return d.row(in, outputs) }) {
		last = at
	}
	return x, last
}

// addition renames what a node makes and is the nodes that give the name back, in float32 between casts where that is another type.
func addition(x string, n *onnx.Node, target int, kind onnx.DataType) []onnx.Node {
	y := n.Outputs[0]
	n.Outputs, n.Span = []string{y + ".base"}, onnx.Span{}
	node := onnx.Node{Name: y + ".lora", Op: "Lora", Domain: Domain, Inputs: []string{x, y + ".base"}, Outputs: []string{y},
		Attributes: []onnx.Attribute{{Name: "target", Int: int64(target)}}}
	if kind == onnx.Float32 {
		return []onnx.Node{node}
	}
	cast := func(from, to string, kind onnx.DataType) onnx.Node {
		return onnx.Node{Name: to, Op: "Cast", Inputs: []string{from}, Outputs: []string{to}, Attributes: []onnx.Attribute{{Name: "to", Int: int64(kind)}}}
	}
	node.Inputs, node.Outputs = []string{y + ".lora_x", y + ".lora_y"}, []string{y + ".lora_sum"}
	return []onnx.Node{cast(x, y+".lora_x", onnx.Float32), cast(y+".base", y+".lora_y", onnx.Float32), node, cast(y+".lora_sum", y, kind)}
}

// product reads a matrix product with constant weights: their name, sizes, and the type of what it makes, Undefined if it is none.
func (d *deriver) product(n *onnx.Node) (weights string, inputs, outputs int, kind onnx.DataType) {
	if len(n.Inputs) < 2 || len(n.Outputs) != 1 || n.Outputs[0] == "" {
		return "", 0, 0, onnx.Undefined
	}
	weights = n.Inputs[1]
	switch {
	case n.Op == "MatMulNBits" && n.Domain == "com.microsoft":
		if s := d.initializer(n.Input(2)); s != nil {
			kind = s.Type
		}
		inputs, outputs = integer(n, "K", 0), integer(n, "N", 0)
	case ofIntegers(n):
		if w := d.initializer(weights); w != nil && len(w.Dims) == 2 && w.Dims[0] <= sizeMax && w.Dims[1] <= sizeMax {
			inputs, outputs, kind = int(w.Dims[0]), int(w.Dims[1]), onnx.Float32
		}
	case n.Op == "MatMul" && n.Domain == "", n.Op == "Gemm" && n.Domain == "" && integer(n, "transA", 0) == 0:
		w, turned := d.initializer(weights), integer(n, "transB", 0) == 1
		if t, _ := d.made(weights); t != nil && t.Op == "Transpose" && len(t.Inputs) == 1 {
			weights, w, turned = t.Inputs[0], d.initializer(t.Inputs[0]), !turned
		}
		for _, name := range []string{"alpha", "beta"} {
			if a := n.Attribute(name); a != nil && a.Float == 0 { // which Write takes for an integer
				return "", 0, 0, onnx.Undefined
			}
		}
		if w == nil || len(w.Dims) != 2 || w.Dims[0] > sizeMax || w.Dims[1] > sizeMax {
			return "", 0, 0, onnx.Undefined
		}
		inputs, outputs, kind = int(w.Dims[0]), int(w.Dims[1]), w.Type
		if turned {
			inputs, outputs = outputs, inputs
		}
	}
	if inputs < 1 || outputs < 1 {
		kind = onnx.Undefined
	}
	return weights, inputs, outputs, kind
}

// ofIntegers says whether a node is a product of 8-bit integers, whose activations are quantised at each run.
func ofIntegers(n *onnx.Node) bool {
	return n.Op == "MatMulInteger" && n.Domain == "" || (n.Op == "MatMulIntegerToFloat" || n.Op == "DynamicQuantizeMatMul") && n.Domain == "com.microsoft"
}

// dynamic finds what goes into a product of integers before it is quantised, and the node that makes its float32: the product itself where an
// exporter fused them, else Cast and Mul behind it. last is -1 where it is another pattern.
func (d *deriver) dynamic(n *onnx.Node, i int) (x string, last int) {
	x = n.Inputs[0]
	if n.Op != "DynamicQuantizeMatMul" {
		q, _ := d.made(x)
		if q == nil || q.Op != "DynamicQuantizeLinear" || q.Domain != "" || len(q.Inputs) != 1 || q.Outputs[0] != x {
			return "", -1
		}
		x = q.Inputs[0]
	}
	if n.Op != "MatMulInteger" {
		return x, i
	}
	cast, _ := d.onlyReader(n.Outputs[0])
	if cast == nil || cast.Op != "Cast" || cast.Domain != "" || len(cast.Outputs) != 1 || integer(cast, "to", 0) != int(onnx.Float32) {
		return "", -1
	}
	scaled, at := d.onlyReader(cast.Outputs[0])
	if scaled == nil || scaled.Op != "Mul" || scaled.Domain != "" || len(scaled.Outputs) != 1 || scaled.Outputs[0] == "" {
		return "", -1
	}
	return x, at
}

// row says whether a tensor is a constant row of n values.
func (d *deriver) row(name string, n int) bool {
	t := d.initializer(name)
	if t == nil || len(t.Dims) == 0 || t.Dims[len(t.Dims)-1] != int64(n) {
		return false
	}
	size, err := t.Elements()
	return err == nil && size == int64(n)
}
