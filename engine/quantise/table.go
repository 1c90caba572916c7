package quantise

import (
	"context"
	"errors"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// errDiffer ends a comparison.
var errDiffer = errors.New("they differ")

// table makes the embedding a lookup in codes: the language head's where both are one matrix, else its own.
func (p *Plan) table() error {
	g := p.graph.Graph
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Op != "Gather" || n.Domain != "" || len(n.Inputs) != 2 || n.Inputs[1] != p.Source.InputIDs || len(n.Outputs) != 1 {
			continue
		}
		if a := n.Attribute("axis"); a != nil && a.Int != 0 {
			continue
		}
		t, turned := p.source(n.Inputs[0])
		if t == nil || turned || len(t.Dims) != 2 || t.Type != onnx.Float32 && t.Type != onnx.Float16 || t.Dims[0] < 1 || t.Dims[0] > sizeMax {
			continue
		}
		if t.Dims[1]%Block != 0 || t.Dims[1] < Block || t.Dims[1] > sizeMax {
			p.keep(t.Name, "its rows of %d are no multiple of a block of %d", t.Dims[1], Block)
			continue
		}
		m := &matrix{name: t.Name, from: t, rows: int(t.Dims[0]), columns: int(t.Dims[1]), bits: headBits}
		same, err := p.isHead(m)
		if err != nil {
			return err
		}
		if p.Shared = same; same {
			m = p.head
		} else {
			m = p.add(m)
		}
		p.TableBits = m.bits
		p.look(i, m)
		return nil
	}
	return nil
}

// look puts a lookup in codes in the place of node i. The product has them as (outputs, blocks, bytes), the lookup as (outputs, bytes).
func (p *Plan) look(i int, m *matrix) {
	n := &p.graph.Graph.Nodes[i]
	shape := onnx.Tensor{Name: p.fresh(m.codes.Name + "_shape"), Type: onnx.Int64, Dims: []int64{2}, Data: make([]byte, 16)}
	put64(shape.Data, uint64(m.rows))
	put64(shape.Data[8:], uint64(m.columns*m.bits/8))
	flat := p.fresh(m.codes.Name + "_rows")
	p.graph.Graph.Initializers = append(p.graph.Graph.Initializers, shape)
	lookup := onnx.Node{Name: n.Name, Op: "GatherBlockQuantized", Domain: microsoft, Inputs: []string{flat, n.Inputs[1], m.scales.Name}, Outputs: n.Outputs,
		Attributes: []onnx.Attribute{{Name: "bits", Int: int64(m.bits)}, {Name: "block_size", Int: Block}, {Name: "gather_axis"}, {Name: "quantize_axis", Int: 1}}}
	if m.zeros != nil {
		lookup.Inputs = append(lookup.Inputs, m.zeros.Name)
	}
	p.graph.Graph.Nodes = slices.Replace(p.graph.Graph.Nodes, i, i+1,
		onnx.Node{Name: flat, Op: "Reshape", Inputs: []string{m.codes.Name, shape.Name}, Outputs: []string{flat}}, lookup)
	p.index()
}

// isHead says whether the embedding is the language head: the same tensor, or, as some exports write it, one of the same numbers.
func (p *Plan) isHead(m *matrix) (bool, error) {
	h := p.head
	if h == nil || h.rows != m.rows || h.columns != m.columns {
		return false, nil
	}
	if h.from.Name == m.from.Name {
		return !h.byInput, nil
	}
	if h.from.Type != m.from.Type {
		return false, nil
	}
	err := parallel(context.Background(), m.cuts(), func(c cut, b *buffers) error {
		x, err := p.rows(m, c, &b.raw, &b.rows)
		if err != nil {
			return err
		}
		y, err := p.rows(h, c, &b.raw, &b.other)
		if err == nil && !slices.Equal(x, y) {
			err = errDiffer
		}
		return err
	})
	if errors.Is(err, errDiffer) {
		return false, nil
	}
	return err == nil, err
}
