package onnx

// Sweep removes the nodes and weights that no output needs. Nodes are in topological order.
func (g *Graph) Sweep() {
	needed := map[string]bool{}
	for _, v := range g.Outputs {
		needed[v.Name] = true
	}
	dead := make([]bool, len(g.Nodes))
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := &g.Nodes[i]
		dead[i] = true
		for _, out := range n.Outputs {
			dead[i] = dead[i] && (out == "" || !needed[out])
		}
		if !dead[i] {
			n.need(needed)
		}
	}
	var nodes []Node
	for i, n := range g.Nodes {
		if !dead[i] {
			nodes = append(nodes, n)
		}
	}
	var weights []Tensor // not in place: what External gives points into the list
	for _, t := range g.Initializers {
		if needed[t.Name] {
			weights = append(weights, t)
		}
	}
	g.Nodes, g.Initializers = nodes, weights
}

// need marks everything that a node reads, in its branches too.
func (n *Node) need(needed map[string]bool) {
	for _, in := range n.Inputs {
		needed[in] = true
	}
	for _, a := range n.Attributes {
		for _, branch := range a.Graphs {
			for i := range branch.Nodes {
				branch.Nodes[i].need(needed)
			}
			for _, v := range branch.Outputs {
				needed[v.Name] = true
			}
		}
	}
}
