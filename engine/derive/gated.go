package derive

import (
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// The activations of package cpu.
const (
	silu = iota
	geluTanh
	geluErf
)

// gate finds act(gate x) * (up x), where both products read the same tensor.
func (d *deriver) gate() {
	for i := range d.graph.Nodes {
		n := &d.graph.Nodes[i]
		if n.Op != "Mul" || n.Domain != "" || len(n.Inputs) != 2 || len(n.Outputs) != 1 {
			continue
		}
		for side := range 2 {
			if d.gateAt(n, i, n.Inputs[side], n.Inputs[1-side]) {
				break
			}
		}
	}
}

// gateAt makes one node of a product whose sides are activated and up, if they are these.
func (d *deriver) gateAt(n *onnx.Node, at int, activated, up string) bool {
	u := d.linears[up]
	if u == nil || u.gone || len(d.readers[up]) != 1 {
		return false
	}
	gate, act, nodes := d.activation(activated)
	g := d.linears[gate]
	if g == nil || g.gone || g == u || g.input != u.input || !d.alike(g, u) ||
		d.plan.Matrices[g.matrix].Outputs != d.plan.Matrices[u.matrix].Outputs || len(d.readers[activated]) != 1 {
		return false
	}
	g.gone, u.gone = true, true
	d.pair(g.matrix, u.matrix)
	for _, i := range nodes {
		d.replaced[i] = nil
	}
	d.replaced[at] = &onnx.Node{
		Name: n.Outputs[0], Op: "Gated", Domain: Domain, Inputs: []string{g.input}, Outputs: n.Outputs,
		Attributes: []onnx.Attribute{
			{Name: "matrices", Ints: []int64{int64(g.matrix), int64(u.matrix)}},
			{Name: "biases", Ints: []int64{int64(g.bias), int64(u.bias)}},
			{Name: "targets", Ints: []int64{int64(g.target), int64(u.target)}},
			{Name: "activation", Int: int64(act)},
		},
	}
	return true
}

// pair notes that two matrices are read in turn, unless one of them is in a pair already.
func (d *deriver) pair(gate, up int) {
	taken := func(p [2]int) bool { return slices.Contains(p[:], gate) || slices.Contains(p[:], up) }
	if gate != up && !slices.ContainsFunc(d.plan.Pairs, taken) {
		d.plan.Pairs = append(d.plan.Pairs, [2]int{gate, up})
	}
}

// activation reads back from a tensor to what was activated, how, and by which nodes, all of which nothing else reads.
func (d *deriver) activation(name string) (from string, act int, nodes []int) {
	n, i := d.made(name)
	if n == nil || len(n.Outputs) != 1 {
		return "", 0, nil
	}
	one := len(n.Inputs) == 1 && len(d.readers[n.Inputs[0]]) == 1
	switch {
	case n.Op == "Mul" && n.Domain == "" && len(n.Inputs) == 2: // x * sigmoid(x)
		for side := range 2 {
			x := n.Inputs[side]
			s, j := d.made(n.Inputs[1-side])
			if s != nil && s.Op == "Sigmoid" && s.Domain == "" && len(s.Inputs) == 1 && s.Inputs[0] == x &&
				len(d.readers[x]) == 2 && len(d.readers[n.Inputs[1-side]]) == 1 {
				return x, silu, []int{i, j}
			}
		}
	case n.Op == "QuickGelu" && n.Domain == "com.microsoft" && one: // x * sigmoid(alpha x)
		if a := n.Attribute("alpha"); a != nil && a.Float == 1 {
			return n.Inputs[0], silu, []int{i}
		}
	case n.Op == "Gelu" && n.Domain == "" && one:
		if a := n.Attribute("approximate"); a != nil && a.String == "tanh" {
			return n.Inputs[0], geluTanh, []int{i}
		} else if a == nil || a.String == "none" {
			return n.Inputs[0], geluErf, []int{i}
		}
	case n.Op == "Gelu" && n.Domain == "com.microsoft" && one:
		return n.Inputs[0], geluErf, []int{i}
	case n.Op == "FastGelu" && n.Domain == "com.microsoft" && one:
		return n.Inputs[0], geluTanh, []int{i}
	}
	return "", 0, nil
}
