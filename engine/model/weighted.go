package model

import "github.com/shammah/shammah-engine/internal/onnx"

// Weighted is a node that computes with weights.
type Weighted struct {
	Name, Op string
	Bytes    int64 // of the weights that a step reads there
	Place    int   // among the graph's own nodes, -1 in a branch
}

// WeightedNodes lists the nodes that compute with weights, each weight at the first that does: also behind nodes that only cast,
// transpose or dequantise it, which a runtime does once. Tables, of which a step takes a row, are not counted.
func WeightedNodes(g *onnx.Graph) (list []Weighted) {
	constant := map[string]int64{} // bytes behind a tensor that never changes
	for i := range g.Initializers {
		if size, err := g.Initializers[i].Size(); err == nil && size > 0 && size <= 1<<50 {
			constant[g.Initializers[i].Name] = size
		} else {
			constant[g.Initializers[i].Name] = 0
		}
	}
	at := -1
	walk(g, func(n *onnx.Node, top bool) {
		place := -1
		if top {
			at++
			place = at
		}
		fixed, bytes := true, int64(0)
		for i, in := range n.Inputs {
			size, known := constant[in]
			fixed = fixed && (known || in == "")
			if table := i == 0 && (n.Op == "Gather" || n.Op == "GatherBlockQuantized"); !table {
				bytes += size
			}
		}
		switch {
		case n.Op == "Constant" && len(n.Outputs) == 1:
			constant[n.Outputs[0]] = 0
			if a := n.Attribute("value"); a != nil && a.Tensor != nil {
				constant[n.Outputs[0]] = max(a.Tensor.Inline, 0)
			}
		case len(n.Inputs) == 0:
		case fixed:
			for i, out := range n.Outputs {
				if constant[out] = 0; i == 0 {
					constant[out] = bytes
				}
			}
		case bytes > 0 && n.Op != "Gather" && n.Op != "GatherBlockQuantized":
			list = append(list, Weighted{n.Name, n.Op, bytes, place})
			for _, in := range n.Inputs {
				if _, known := constant[in]; known {
					constant[in] = 0 // counted
				}
			}
		}
	})
	return list
}
