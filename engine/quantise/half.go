package quantise

import (
	"github.com/shammah/shammah-engine/internal/onnx"
)

// widen makes a float16 graph a float32 one: the processor computes in float32 anyway, after casts around every node, and the products'
// own kernels take float32 alone. Constants keep their values.
func (p *Plan) widen() error {
	if err := p.checkTypes(); err != nil {
		return err
	}
	g := p.graph.Graph
	for _, list := range [][]onnx.Value{g.Inputs, g.Outputs} {
		for i := range list {
			if list[i].Type == onnx.Float16 {
				list[i].Type, list[i].Span, p.Widened = onnx.Float32, onnx.Span{}, true
			}
		}
	}
	for i := range g.Nodes {
		if err := p.widenNode(&g.Nodes[i]); err != nil {
			return err
		}
	}
	for _, t := range g.Initializers {
		p.Widened = p.Widened || t.Type == onnx.Float16 // layOut writes them anew
	}
	return nil
}

// checkTypes refuses what widen cannot change.
func (p *Plan) checkTypes() (err error) {
	each(p.graph.Graph, func(n *onnx.Node, top bool) {
		for _, a := range n.Attributes {
			half := a.Tensor != nil && a.Tensor.Type == onnx.Float16 || typed(n.Op, a.Name) && a.Int == int64(onnx.Float16)
			switch {
			case half && !top:
				err = p.refuse("it computes in float16 in a branch of node %.80q", n.Name)
			case a.Tensor != nil && a.Tensor.Type == onnx.BFloat16 || typed(n.Op, a.Name) && a.Int == int64(onnx.BFloat16):
				err = p.refuse("it computes in bfloat16 (node %.80q)", n.Name)
			}
		}
	})
	for _, t := range p.graph.Graph.Initializers {
		if t.Type == onnx.BFloat16 {
			err = p.refuse("it computes in bfloat16 (tensor %.80q)", t.Name)
		}
	}
	return err
}

// typed says whether an attribute is an element type.
func typed(op, attribute string) bool {
	return op == "Cast" && attribute == "to" || attribute == "dtype" || attribute == "output_datatype"
}

// widenNode changes the node's own constants and types.
func (p *Plan) widenNode(n *onnx.Node) error {
	for i := range n.Attributes {
		a := &n.Attributes[i]
		switch {
		case a.Tensor != nil && (a.Tensor.Type == onnx.Float16 || a.Tensor.External != nil):
			t, err := p.inline(a.Tensor)
			if err != nil {
				return err
			}
			a.Tensor, n.Span = t, onnx.Span{}
		case typed(n.Op, a.Name) && a.Int == int64(onnx.Float16):
			a.Int, n.Span, p.Widened = int64(onnx.Float32), onnx.Span{}, true
		}
	}
	return nil
}

// inline is a small tensor with its bytes in the graph, widened if it is float16.
func (p *Plan) inline(t *onnx.Tensor) (*onnx.Tensor, error) {
	b, err := p.tensors.Read(t)
	if err != nil {
		return nil, err
	}
	fresh := &onnx.Tensor{Name: t.Name, Type: t.Type, Dims: t.Dims, Data: b}
	if t.Type == onnx.Float16 {
		x := make([]float32, len(b)/2)
		toFloats(x, b, onnx.Float16)
		fresh.Type, fresh.Data, p.Widened = onnx.Float32, bytesOf(x), true
	}
	return fresh, nil
}
