package derive

import (
	"fmt"
	"math"
	"strings"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// classes tells for each layer the first one that is the same: the same nodes with the same constants, from query, key, value and the
// cache on.
func (p *prover) classes() []*layer {
	ids := map[string]int{}
	first := map[string]*layer{}
	class := make([]*layer, len(p.layers))
	for i, l := range p.layers {
		n := namer{prover: p, ids: ids, known: map[string]int{}}
		for role, name := range map[string]string{"query": l.Query, "key": l.Key, "value": l.Value, "past key": l.PastKey} {
			n.known[name] = n.id(role)
		}
		if l.PastValue != l.PastKey {
			n.known[l.PastValue] = n.id("past value")
		}
		about := fmt.Sprint(l.Heads, l.QueryShape, l.KeyShape, l.ValueShape, l.capped, len(l.masks), len(l.factors), len(l.capping))
		for _, m := range l.masks {
			about += fmt.Sprint(" ", m.condition != "", m.whenFalse)
		}
		for _, name := range l.parts() {
			about += fmt.Sprint(" ", n.name(name))
		}
		if first[about] == nil {
			first[about] = l
		}
		class[i] = first[about]
	}
	return class
}

// namer gives tensors of one layer numbers that are the same in another layer if they are made in the same way.
type namer struct {
	*prover
	ids   map[string]int // of descriptions, for all layers
	known map[string]int // of tensors
}

func (n *namer) id(description string) int {
	i, known := n.ids[description]
	if !known {
		i = len(n.ids)
		n.ids[description] = i
	}
	return i
}

// name describes a tensor by what makes it. (The graph has no cycle: its shapes were computed.)
func (n *namer) name(tensor string) int {
	if i, known := n.known[tensor]; known {
		return i
	}
	var d strings.Builder
	node := n.node(tensor)
	if size, is := n.trunk[tensor]; is {
		fmt.Fprintf(&d, "between %d", size)
	} else if node == nil {
		d.WriteString(n.given(tensor))
	} else {
		fmt.Fprintf(&d, "%q %q", node.Domain, node.Op)
		for i, out := range node.Outputs {
			if out == tensor {
				fmt.Fprintf(&d, " %d", i)
			}
		}
		for i := range node.Attributes {
			d.WriteString(n.attribute(tensor, &node.Attributes[i]))
		}
		for _, in := range node.Inputs {
			if (node.Op == "Shape" || node.Op == "Size") && n.isPast(in) {
				d.WriteString(" cache") // all layers' have one shape
				continue
			}
			fmt.Fprintf(&d, " %d", n.name(in))
		}
	}
	i := n.id(d.String())
	n.known[tensor] = i
	return i
}

// given describes an initializer by what it holds, and an input of the graph by its name.
func (n *namer) given(name string) string {
	if t := n.constants[name]; t != nil {
		return n.content(name, t)
	}
	return fmt.Sprintf("input %q", name)
}

func (n *namer) isPast(name string) bool {
	for _, past := range n.spec.Past {
		if name == past.Key || name == past.Value {
			return true
		}
	}
	return false
}

func (n *namer) attribute(tensor string, a *onnx.Attribute) string {
	s := fmt.Sprintf(" (%q %d %x %q %v", a.Name, a.Int, math.Float32bits(a.Float), a.String, a.Ints)
	if a.Tensor != nil {
		s += n.content(tensor, a.Tensor)
	}
	if len(a.Graphs) > 0 {
		s += fmt.Sprintf(" branches of %q", tensor)
	}
	return s + ")"
}

// content describes a constant by its bytes if it is short, else by its own name.
func (n *namer) content(name string, t *onnx.Tensor) string {
	s := fmt.Sprintf(" %v %v", t.Type, t.Dims)
	if v, ok := t.Ints(); ok {
		return s + fmt.Sprint(v)
	}
	if t.Data != nil {
		return s + fmt.Sprintf("%x", t.Data)
	}
	if size, err := t.Size(); err == nil && size >= 0 && size <= 1<<10 {
		if b, err := n.read(t); err == nil {
			return s + fmt.Sprintf("%x", b)
		}
	}
	return s + fmt.Sprintf(" of %q", name)
}
