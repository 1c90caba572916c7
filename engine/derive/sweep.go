package derive

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// inlineMax bounds what a derived graph may hold of weights that the kernels do not compute: they are copied into it.
const inlineMax = 64 << 20

// sweep removes nodes and weights that nothing needs any more, and gathers the weights that stay.
func (d *deriver) sweep() error {
	g := d.graph
	needed := map[string]bool{}
	for _, v := range g.Outputs {
		needed[v.Name] = true
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- { // nodes are in topological order
		n := &g.Nodes[i]
		used := false
		for _, out := range n.Outputs {
			used = used || out != "" && needed[out]
		}
		if !used {
			n.Op = ""
			continue
		}
		for _, in := range n.Inputs {
			needed[in] = true
		}
		for _, a := range n.Attributes {
			for _, b := range a.Graphs {
				need(b, needed)
			}
		}
	}
	nodes := g.Nodes[:0]
	for _, n := range g.Nodes {
		if n.Op != "" {
			nodes = append(nodes, n)
		}
	}
	g.Nodes = nodes
	var stay []onnx.Tensor
	var total int64
	for _, t := range g.Initializers {
		if !needed[t.Name] {
			continue
		}
		size, err := t.Size()
		if err != nil || size < 0 {
			size = t.Inline
		}
		total += size
		stay = append(stay, t)
	}
	if total > inlineMax {
		return fmt.Errorf("derive: %s of weights would stay with the runtime: %w", humanize.IBytes(uint64(total)), ErrNothing)
	}
	g.Initializers = stay
	return nil
}

// need marks everything that a branch reads.
func need(g *onnx.Graph, needed map[string]bool) {
	for i := range g.Nodes {
		for _, in := range g.Nodes[i].Inputs {
			needed[in] = true
		}
		for _, a := range g.Nodes[i].Attributes {
			for _, inner := range a.Graphs {
				need(inner, needed)
			}
		}
	}
	for _, v := range g.Outputs {
		needed[v.Name] = true
	}
}

// scale is what a node multiplies scores with; 0 stands for the reciprocal root of the head's size.
func (d *deriver) scale(n *onnx.Node) float32 {
	if a := n.Attribute("scale"); a != nil && a.Float != 0 {
		return a.Float
	}
	return float32(1 / math.Sqrt(float64(d.spec.HeadDim)))
}
