package quantise

import (
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

const (
	microsoft = "com.microsoft"
	sizeMax   = 1 << 24 // of a dimension, far above any real one
)

// index finds the constants, who makes each tensor, and how often it is read.
func (p *Plan) index() {
	g := p.graph.Graph
	p.old, p.maker, p.readers = map[string]*onnx.Tensor{}, map[string]int{}, map[string]int{}
	for _, t := range g.Initializers {
		p.old[t.Name] = &t // a copy: the list is cut later
	}
	for _, v := range g.Inputs {
		delete(p.old, v.Name) // a weight that a run may replace is none
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for _, out := range n.Outputs {
			p.maker[out] = i
		}
		if a := n.Attribute("value"); n.Op == "Constant" && n.Domain == "" && a != nil && a.Tensor != nil && len(n.Outputs) == 1 {
			t := *a.Tensor
			t.Name = n.Outputs[0] // its own name is often empty, or the same in many nodes
			p.old[t.Name] = &t
		}
	}
	p.count()
}

func (p *Plan) count() {
	clear(p.readers)
	each(p.graph.Graph, func(n *onnx.Node, _ bool) {
		for _, in := range n.Inputs {
			p.readers[in]++
		}
		for _, a := range n.Attributes {
			for _, branch := range a.Graphs {
				for _, v := range branch.Outputs {
					p.readers[v.Name]++
				}
			}
		}
	})
	for _, v := range p.graph.Graph.Outputs {
		p.readers[v.Name]++
	}
}

// source finds the constant behind a tensor: through transpositions, which turn it, and through casts.
func (p *Plan) source(name string) (t *onnx.Tensor, turned bool) {
	for range 8 {
		i, made := p.maker[name]
		if !made || p.graph.Graph.Nodes[i].Op == "Constant" {
			return p.old[name], turned
		}
		n := &p.graph.Graph.Nodes[i]
		if n.Domain != "" || len(n.Inputs) != 1 || len(n.Outputs) != 1 {
			return nil, false
		}
		switch n.Op {
		case "Transpose":
			if a := n.Attribute("perm"); a != nil && !slices.Equal(a.Ints, []int64{1, 0}) {
				return nil, false
			}
			turned = !turned
		case "Cast":
			if a := n.Attribute("to"); a == nil || a.Int != int64(onnx.Float32) && a.Int != int64(onnx.Float16) {
				return nil, false
			}
		case "Identity":
		default:
			return nil, false
		}
		name = n.Inputs[0]
	}
	return nil, false
}

// products replaces every product whose second factor is a constant matrix.
func (p *Plan) products() {
	head := p.headNode()
	var nodes []onnx.Node
	for i := range p.graph.Graph.Nodes {
		n := p.graph.Graph.Nodes[i]
		m := p.matrixOf(&n)
		if m == nil {
			nodes = append(nodes, n)
			continue
		}
		m.bits = 4
		if i == head {
			m.bits = headBits
		}
		m = p.add(m)
		if i == head {
			p.head, p.HeadBits = m, m.bits
		}
		p.Matrices++
		nodes = append(nodes, p.product(&n, m)...)
	}
	p.graph.Graph.Nodes = nodes
	p.index()
}

// headBits is what the language head and the embedding are quantised to: their rounding shows most, see docs/RATIONALE.md.
const headBits = 8

// headNode is the product that makes the logits, -1 if it is not found.
func (p *Plan) headNode() int {
	name := p.Source.Logits
	for range 16 { // between the product and the logits lie cheap operations alone
		i, made := p.maker[name]
		if !made || len(p.graph.Graph.Nodes[i].Inputs) == 0 {
			return -1
		}
		switch n := &p.graph.Graph.Nodes[i]; n.Op {
		case "MatMul", "Gemm":
			return i
		case "Add", "Mul", "Div", "Sub", "Tanh", "Cast", "Reshape", "Identity", "Where", "Clip":
			name = n.Inputs[0]
		default:
			return -1
		}
	}
	return -1
}

// matrixOf is the constant matrix of a product, nil if the node is none or must stay.
func (p *Plan) matrixOf(n *onnx.Node) *matrix {
	if n.Domain != "" || n.Op != "MatMul" && n.Op != "Gemm" || len(n.Inputs) < 2 || len(n.Outputs) != 1 {
		return nil
	}
	t, turned := p.source(n.Inputs[1])
	if t == nil || len(t.Dims) != 2 || t.Type != onnx.Float32 && t.Type != onnx.Float16 {
		return nil
	}
	if n.Op == "Gemm" {
		if a := n.Attribute("transB"); a != nil && a.Int != 0 {
			turned = !turned
		}
		if why := p.oddGemm(n); why != "" {
			p.keep(n.Inputs[1], "%s", why)
			return nil
		}
	}
	m := &matrix{name: t.Name, from: t, byInput: !turned}
	inputs, outputs := t.Dims[0], t.Dims[1]
	if turned {
		inputs, outputs = outputs, inputs
	}
	switch {
	case inputs < Block || outputs < 1:
		if inputs > 0 && outputs > 0 {
			p.keep(t.Name, "it has %d inputs, fewer than a block of %d", inputs, Block)
		}
		return nil
	case inputs > sizeMax || outputs > sizeMax:
		p.keep(t.Name, "its shape %v is out of reason", t.Dims)
		return nil
	}
	if t.External == nil && t.Data == nil && t.Raw.End == t.Raw.At {
		p.keep(t.Name, "its values are not stored as raw data")
		return nil
	}
	m.rows, m.columns = int(outputs), int(inputs)
	return m
}

// oddGemm says what makes a Gemm more than a product and a bias.
func (p *Plan) oddGemm(n *onnx.Node) string {
	for name, want := range map[string]float32{"alpha": 1, "beta": 1} {
		if a := n.Attribute(name); a != nil && a.Float != want {
			return fmt.Sprintf("the %s of its Gemm is %g", name, a.Float)
		}
	}
	if a := n.Attribute("transA"); a != nil && a.Int != 0 {
		return "its Gemm turns the first factor"
	}
	return ""
}

// add makes the tensors of a matrix, once for each source.
func (p *Plan) add(m *matrix) *matrix {
	key := fmt.Sprintf("%s/%t/%d", m.name, m.byInput, m.bits)
	if there := p.made[key]; there != nil {
		return there
	}
	p.made[key] = m
	name := func(kind string) string { return p.fresh(m.name + kind) }
	blocks := int64((m.columns + Block - 1) / Block)
	rows := int64(m.rows)
	m.codes = &onnx.Tensor{Name: name(fmt.Sprintf("_Q%d", m.bits)), Type: onnx.Uint8, Dims: []int64{rows, blocks, Block * int64(m.bits) / 8}}
	m.scales = &onnx.Tensor{Name: name("_scales"), Type: onnx.Float32, Dims: []int64{rows, blocks}}
	if m.bits == 8 { // the lookup of 8 bits takes 0 where none are stored, the product 128
		m.zeros = &onnx.Tensor{Name: name("_zeros"), Type: onnx.Uint8, Dims: []int64{rows, blocks}}
	}
	p.pieces = append(p.pieces, piece{matrix: m})
	return m
}

// fresh is the name for a new tensor, with something behind it if another tensor has that name.
func (p *Plan) fresh(name string) string {
	for p.isTaken(name) {
		name += "_"
	}
	p.taken[name] = true
	return name
}

// isTaken says whether a tensor has that name already, of the graph or made here.
func (p *Plan) isTaken(name string) bool {
	_, made := p.maker[name]
	return made || p.taken[name] || p.old[name] != nil || slices.ContainsFunc(p.graph.Graph.Inputs, func(v onnx.Value) bool { return v.Name == name })
}

// product is what stands in for a node: the product with codes, and the addition of a Gemm.
func (p *Plan) product(n *onnx.Node, m *matrix) []onnx.Node {
	q := onnx.Node{Name: n.Name, Op: "MatMulNBits", Domain: microsoft, Inputs: []string{n.Inputs[0], m.codes.Name, m.scales.Name}, Outputs: n.Outputs,
		Attributes: []onnx.Attribute{{Name: "K", Int: int64(m.columns)}, {Name: "N", Int: int64(m.rows)}, {Name: "bits", Int: int64(m.bits)},
			{Name: "block_size", Int: Block}, {Name: "accuracy_level", Int: 4}}}
	if m.zeros != nil {
		q.Inputs = append(q.Inputs, m.zeros.Name)
	}
	if n.Op != "Gemm" || len(n.Inputs) < 3 || n.Inputs[2] == "" {
		return []onnx.Node{q}
	}
	q.Outputs = []string{p.fresh(n.Outputs[0] + "_product")}
	return []onnx.Node{q, {Name: n.Name + "_bias", Op: "Add", Inputs: []string{q.Outputs[0], n.Inputs[2]}, Outputs: n.Outputs}}
}

// sweep removes what nothing reads any more: turned and cast weights, then the weights. It goes from the end, since nodes stand behind those
// that they read from.
func (p *Plan) sweep() {
	g := p.graph.Graph
	p.count()
	idle := make([]bool, len(g.Nodes))
	for i, n := range slices.Backward(g.Nodes) {
		passes := n.Op == "Transpose" || n.Op == "Cast" || n.Op == "Identity" || n.Op == "Constant"
		idle[i] = passes && n.Domain == "" && !slices.ContainsFunc(n.Outputs, func(out string) bool { return p.readers[out] > 0 })
		if idle[i] {
			for _, in := range n.Inputs {
				p.readers[in]--
			}
		}
	}
	i := -1
	g.Nodes = slices.DeleteFunc(g.Nodes, func(onnx.Node) bool { i++; return idle[i] })
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t onnx.Tensor) bool { return p.readers[t.Name] == 0 && p.old[t.Name] != nil })
}
