package derive

import (
	"fmt"
	"maps"
	"slices"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// unbranch takes out of a graph what an exporter put in for the matrices of one adapter: inputs A (inputs, rank) and B (rank, outputs), the
// products with them, and the addition to what a module's own weights give. What is left is the graph as it would be without, to which any
// number of adapters can add as to any other.
func unbranch(g *onnx.Graph) error {
	halves := map[string]map[byte]string{}
	for _, v := range g.Inputs {
		module, half, ok := lora.Input(v.Name)
		if !ok {
			continue
		}
		if halves[module] == nil {
			halves[module] = map[byte]string{}
		}
		if halves[module][half] != "" {
			return fmt.Errorf("derive: the graph has two inputs for half %c of the adapter's module %.80q, expected one", half, module)
		}
		halves[module][half] = v.Name
	}
	if len(halves) == 0 {
		return nil
	}
	d := &deriver{graph: g}
	d.index()
	ends := d.ends()
	gone, dead := map[string]bool{}, map[int]bool{}
	for _, module := range slices.Sorted(maps.Keys(halves)) {
		a, b := halves[module]['A'], halves[module]['B']
		nodes, last, why := d.branchOf(a, b, module, ends)
		if why != "" {
			return fmt.Errorf("derive: the graph has inputs for an adapter's module %.80q, which cannot be taken out of it: %s", module, why)
		}
		n := &g.Nodes[last]
		n.Outputs, n.Span = []string{g.Nodes[nodes[2]].Outputs[0]}, onnx.Span{}
		gone[a], gone[b] = true, true
		for _, i := range nodes {
			dead[i] = true
		}
	}
	var stay []onnx.Node
	for i := range g.Nodes {
		if !dead[i] {
			stay = append(stay, g.Nodes[i])
		}
	}
	g.Nodes = stay
	g.Inputs = slices.DeleteFunc(g.Inputs, func(v onnx.Value) bool { return gone[v.Name] })
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t onnx.Tensor) bool { return gone[t.Name] }) // what is taken where a run gives none
	return nil
}

// ending is a product of constant weights, by the tensor that it ends in.
type ending struct {
	module, x string
	last      int
}

func (d *deriver) ends() map[string]ending {
	ends := map[string]ending{}
	for i := range d.graph.Nodes {
		n := &d.graph.Nodes[i]
		weights, _, outputs, kind := d.product(n)
		if kind == onnx.Undefined {
			continue
		}
		if x, last := d.end(n, i, outputs); last >= 0 {
			ends[d.graph.Nodes[last].Outputs[0]] = ending{moduleOf(n, weights), x, last}
		}
	}
	return ends
}

// branchOf is the two products and the addition of one adapter's module, and the node that makes what is added to.
func (d *deriver) branchOf(a, b, module string, ends map[string]ending) (nodes [3]int, last int, why string) {
	if a == "" || b == "" {
		return nodes, 0, "one of the two halves is missing"
	}
	down, i := d.onlyReader(a)
	up, j := d.onlyReader(b)
	if !isProduct(down, a) || !isProduct(up, b) || up.Inputs[0] != down.Outputs[0] {
		return nodes, 0, "they do not go into two products, one behind the other"
	}
	if next, at := d.onlyReader(down.Outputs[0]); next == nil || at != j {
		return nodes, 0, "what the first product gives is used elsewhere"
	}
	sum, k := d.onlyReader(up.Outputs[0])
	if sum == nil || sum.Op != "Add" || sum.Domain != "" || len(sum.Inputs) != 2 || len(sum.Outputs) != 1 || sum.Inputs[0] == sum.Inputs[1] {
		return nodes, 0, "behind the second product is no addition alone; a scale in the graph is not supported"
	}
	base := sum.Inputs[0]
	if base == up.Outputs[0] {
		base = sum.Inputs[1]
	}
	end, ok := ends[base]
	if next, _ := d.onlyReader(base); !ok || next != sum || end.x != down.Inputs[0] {
		return nodes, 0, "it is not added to a product of the same values with constant weights"
	}
	if end.module != canonical(module) {
		return nodes, 0, fmt.Sprintf("it is added to %.80q", end.module)
	}
	return [3]int{i, j, k}, end.last, ""
}

// isProduct says whether a node is a plain product with that tensor on the right.
func isProduct(n *onnx.Node, right string) bool {
	return n != nil && n.Op == "MatMul" && n.Domain == "" && len(n.Inputs) == 2 && len(n.Outputs) == 1 && n.Inputs[1] == right && n.Inputs[0] != right
}
