package derive

import (
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// layer is an attention while it is put together.
type layer struct {
	Unfused
	newKey, newValue string   // (batch, kv_heads, length, head_dim), what is appended to the cache
	turned           string   // the query, (batch, heads, length, head_dim), turned and perhaps scaled
	scores           string   // product of query and keys, (batch, heads, length, total)
	masks            []mask   // all must let a key be seen
	factors          []factor // of the scores, those of query and keys among them
	capping          []factor // the soft cap
	capped           bool

	scale, softcap, rotaryScale float64
	frequencies                 []float64
}

// factor is something that scores are multiplied with, or divided by.
type factor struct {
	tensor string
	divide bool
}

// mask is what hides keys: a tensor that is added to the scores or, where there is a condition, put in their place.
type mask struct {
	tensor, condition string
	whenFalse         bool // in their place where the condition is false
}

// past is one half of one layer's cache.
type past struct {
	layer int
	value bool
}

// match finds all layers by the shape of the graph.
func (f *finder) match() ([]*layer, error) {
	layers := make([]*layer, len(f.spec.Past))
	var why error
	for i := range f.graph.Nodes {
		n := &f.graph.Nodes[i]
		if n.Op != "MatMul" || n.Domain != "" || len(n.Inputs) != 2 || len(n.Outputs) != 1 {
			continue
		}
		soft := f.probabilities(n.Inputs[0])
		if soft == nil {
			continue
		}
		l, err := f.attention(n, soft)
		switch {
		case err != nil:
			why = unless(why, err)
		case layers[l.Layer] != nil:
			return nil, refuseAt(n, "a second attention over the cache of layer %d", l.Layer)
		default:
			layers[l.Layer] = l
		}
	}
	if i := slices.Index(layers, nil); i >= 0 {
		return nil, unless(why, refuse("layer %d: no softmax over the cache %q was found", i, f.spec.Past[i].Key))
	}
	return layers, nil
}

// probabilities goes back to the softmax that a tensor comes from, nil if it comes from elsewhere.
func (f *finder) probabilities(name string) *onnx.Node {
	for range 8 {
		n := f.node(name)
		if n == nil || n.Domain != "" || len(n.Inputs) == 0 {
			return nil
		}
		switch {
		case n.Op == "Softmax":
			return n
		case n.Op == "Cast" || n.Op == "Identity" || n.Op == "Dropout" && len(n.Outputs) == 1:
			name = n.Inputs[0]
		case n.Op == "Where" && len(n.Inputs) == 3: // rows that see nothing are no numbers, and become 0
			is := f.node(n.Inputs[0])
			if is == nil || is.Op != "IsNaN" || len(is.Inputs) != 1 || is.Inputs[0] != n.Inputs[2] {
				return nil
			}
			name = n.Inputs[2]
		default:
			return nil
		}
	}
	return nil
}

// attention puts together the layer whose product of probabilities and values is n.
func (f *finder) attention(n, soft *onnx.Node) (*layer, error) {
	l := &layer{}
	if err := f.findScores(l, soft); err != nil {
		return nil, err
	}
	product := f.node(l.scores)
	keys, err := f.cache(product.Inputs[1], &l.factors)
	if err != nil {
		return nil, err
	}
	values, err := f.cache(n.Inputs[1], nil)
	if err != nil {
		return nil, err
	}
	k, v := f.whose(keys.Inputs[0]), f.whose(values.Inputs[0])
	if k == nil || v == nil || k.layer != v.layer || k.value || !v.value {
		return nil, refuseAt(n, "its keys come from %q and its values from %q, which are not key and value of one layer", keys.Inputs[0], values.Inputs[0])
	}
	s := f.spec
	l.Layer, l.KVHeads, l.HeadDim = k.layer, s.KVHeads, s.HeadDim
	l.PastKey, l.PastValue = s.Past[k.layer].Key, s.Past[k.layer].Value
	l.PresentKey, l.PresentValue = s.Present[k.layer].Key, s.Present[k.layer].Value
	l.newKey, l.newValue = keys.Inputs[1], values.Inputs[1]
	l.turned = f.back(product.Inputs[0], &l.factors, "Cast", "Identity")
	if l.Query, l.QueryShape, err = f.projection(l.turned); err != nil {
		return nil, err
	}
	if l.Key, l.KeyShape, err = f.projection(l.newKey); err != nil {
		return nil, err
	}
	l.Value, l.ValueShape = f.heads(l.newValue)
	l.Output, err = f.output(n)
	return l, err
}

// findScores goes back from the softmax over mask, soft cap and scales to the product of query and keys.
func (f *finder) findScores(l *layer, soft *onnx.Node) error {
	at := soft.Inputs[0]
	for range 16 {
		n := f.node(at)
		if n == nil || n.Domain != "" {
			return refuseAt(n, "it is not known between query and softmax")
		}
		from := f.sources(n)
		if n.Op == "MatMul" && len(n.Inputs) == 2 && len(from) == 2 {
			if l.scores = at; len(l.masks) == 0 {
				return refuseAt(soft, "its scores are not masked")
			}
			return nil
		}
		if len(from) != 1 || len(n.Inputs) == 0 {
			return refuseAt(n, "it is not known between query and softmax")
		}
		direct := len(l.factors) == 0 && !l.capped
		switch {
		case n.Op == "Cast" || n.Op == "Identity":
		case n.Op == "Add" && direct && other(n, from[0]) != "":
			l.masks = append(l.masks, mask{tensor: other(n, from[0])})
		case n.Op == "Where" && direct && len(n.Inputs) == 3 && n.Inputs[0] != from[0] && n.Inputs[1] != n.Inputs[2]:
			if n.Inputs[1] == from[0] {
				l.masks = append(l.masks, mask{tensor: n.Inputs[2], condition: n.Inputs[0], whenFalse: true})
			} else {
				l.masks = append(l.masks, mask{tensor: n.Inputs[1], condition: n.Inputs[0]})
			}
		case f.scales(n, from[0], &l.factors):
		case n.Op == "Tanh" && !l.capped:
			l.capped, l.capping, l.factors = true, l.factors, nil
		default:
			return refuseAt(n, "it is not known between query and softmax")
		}
		at = from[0]
	}
	return refuseAt(soft, "too much lies between it and the product of query and keys")
}

// other is the operand of an addition or product beside this one.
func other(n *onnx.Node, name string) string {
	if len(n.Inputs) != 2 || n.Inputs[0] == n.Inputs[1] {
		return ""
	}
	if n.Inputs[0] == name {
		return n.Inputs[1]
	}
	return n.Inputs[0]
}

// scales says whether a node multiplies or divides by something that is no data, and notes it.
func (f *finder) scales(n *onnx.Node, name string, factors *[]factor) bool {
	by := other(n, name)
	switch {
	case factors == nil || by == "" || n.Domain != "" || f.isData(by):
		return false
	case n.Op == "Mul" || n.Op == "Div" && n.Inputs[0] == name:
		*factors = append(*factors, factor{by, n.Op == "Div"})
		return true
	}
	return false
}

// back goes back over these operators, and over scales if there is a list for them, to the first tensor that something else makes.
func (f *finder) back(name string, factors *[]factor, over ...string) string {
	for range 16 {
		n := f.node(name)
		if n == nil || n.Domain != "" || len(f.sources(n)) != 1 {
			break
		}
		from := f.sources(n)[0]
		if !f.scales(n, from, factors) && (!slices.Contains(over, n.Op) || n.Input(0) != from) {
			break
		}
		name = from
	}
	return name
}

// cache goes back over the repetition of heads to the concatenation of past and new.
func (f *finder) cache(name string, factors *[]factor) (*onnx.Node, error) {
	at := f.back(name, factors, "Cast", "Identity", "Transpose", "Reshape", "Expand", "Unsqueeze", "Squeeze", "Tile", "Gather")
	n := f.node(at)
	if n == nil || n.Op != "Concat" || n.Domain != "" || len(n.Inputs) != 2 || !axisIs(n, 2, -2) || f.whose(n.Inputs[0]) == nil {
		return nil, refuseAt(n, "a concatenation of past and new keys or values was expected")
	}
	return n, nil
}

// whose tells which half of the cache a tensor is, nil if it is none.
func (f *finder) whose(name string) *past {
	index := int64(-1)
	if n := f.node(name); f.spec.Combined {
		if n == nil || n.Op != "Gather" || n.Domain != "" || len(n.Inputs) != 2 || !axisIs(n, 0, 0) {
			return nil
		}
		if index = f.constant(n.Inputs[1]); index != 0 && index != 1 {
			return nil
		}
		name = n.Inputs[0]
	}
	for i, p := range f.spec.Past {
		switch {
		case f.spec.Combined && name == p.Key:
			return &past{i, index == 1}
		case !f.spec.Combined && (name == p.Key || name == p.Value):
			return &past{i, name == p.Value}
		}
	}
	return nil
}

// constant is a single integer, -1 if the tensor is none.
func (f *finder) constant(name string) int64 {
	t := (*onnx.Tensor)(nil)
	if n := f.node(name); n != nil && n.Op == "Constant" {
		if a := n.Attribute("value"); a != nil {
			t = a.Tensor
		}
	} else if n == nil {
		t = f.constants[name]
	}
	if v, ok := t.Ints(); ok && len(v) == 1 && len(t.Dims) == 0 {
		return v[0]
	}
	return -1
}

// projection goes back from a query or key in the form (batch, heads, length, head_dim) over the rotation to what is turned.
func (f *finder) projection(name string) (string, HeadShape, error) {
	at := f.back(name, nil, "Cast", "Identity")
	n := f.node(at)
	if n == nil {
		return "", 0, refuse("%q is no query or key that a node makes", name)
	}
	if len(f.sources(n)) > 1 {
		from, err := f.origin(at)
		if err != nil {
			return "", 0, err
		}
		at = from
	}
	x, shape := f.heads(at)
	return x, shape, nil
}

// heads goes back over the transposition and splitting of heads.
func (f *finder) heads(name string) (string, HeadShape) {
	n := f.node(name)
	if n == nil || n.Op != "Transpose" || n.Domain != "" || len(n.Inputs) != 1 {
		return name, HeadsFirst
	}
	a := n.Attribute("perm")
	if a == nil || !slices.Equal(a.Ints, []int64{0, 2, 1, 3}) {
		return name, HeadsFirst
	}
	split := n.Inputs[0]
	if n = f.node(split); n == nil || n.Op != "Reshape" || n.Domain != "" || len(n.Inputs) != 2 || !f.isData(n.Inputs[0]) {
		return split, Split
	}
	return n.Inputs[0], Joined
}

// output goes on from the product with the values to where the heads are joined.
func (f *finder) output(n *onnx.Node) (string, error) {
	at := n
	for _, op := range []string{"Transpose", "Reshape"} {
		var next *onnx.Node
		for _, i := range f.readers[at.Outputs[0]] {
			switch r := &f.graph.Nodes[i]; {
			case r.Op == "Shape":
			case r.Op != op || r.Domain != "" || next != nil || r.Input(0) != at.Outputs[0] || len(r.Outputs) != 1:
				return "", refuseAt(r, "it reads what %s was expected to read alone", op)
			default:
				next = r
			}
		}
		if next == nil {
			return "", refuseAt(at, "a %s was expected after it", op)
		}
		at = next
	}
	return at.Outputs[0], nil
}
