package derive

import "github.com/shammah/shammah-engine/internal/onnx"

// asRows makes the language head compute only the rows that RowsInput lists.
func (d *deriver) asRows() {
	if d.spec.NumLogits != "" {
		return // the graph can be asked already
	}
	at := d.spec.Logits
	for range 8 { // between the head and the logits lie at most a few operations on each value alone
		if d.linears[at] != nil {
			break
		}
		n, _ := d.made(at)
		if n == nil || len(n.Inputs) == 0 || n.Domain != "" {
			return
		}
		switch n.Op {
		case "Mul", "Div", "Tanh", "Cast", "Add", "Identity":
			at = n.Inputs[0]
		default:
			return
		}
	}
	l := d.linears[at]
	if l == nil || l.gone || d.replaced[l.node] == nil || len(d.replaced[l.node].Outputs) != 1 {
		return
	}
	from, nodes := d.cut(l.input)
	for _, i := range nodes {
		d.replaced[i] = nil
	}
	const rows = "shammah.rows"
	d.addBefore(l.node, onnx.Node{
		Name: rows, Op: "Gather", Inputs: []string{from, RowsInput}, Outputs: []string{rows}, Attributes: []onnx.Attribute{{Name: "axis", Int: 1}},
	})
	d.replaced[l.node].Inputs[0] = rows
	d.graph.Inputs = append(d.graph.Inputs, onnx.Value{Name: RowsInput, Type: onnx.Int64, Shape: []onnx.Dim{{Size: -1, Symbol: "logits_rows"}}})
	for i := range d.graph.Outputs {
		if v := &d.graph.Outputs[i]; v.Name == d.spec.Logits && len(v.Shape) == 3 {
			*v = onnx.Value{Name: v.Name, Type: v.Type, Shape: []onnx.Dim{v.Shape[0], {Size: -1, Symbol: "logits_rows"}, v.Shape[2]}}
		}
	}
	d.plan.Rows = true
}

// cut goes back from the head's input to the hidden states of all tokens, over nodes that take the last one and that nothing else reads.
func (d *deriver) cut(name string) (from string, nodes []int) {
	is := func(name string, want int64) bool {
		v, ok := d.constants[name].Ints()
		return ok && len(v) == 1 && v[0] == want
	}
	n, i := d.made(name)
	if n != nil && n.Op == "Unsqueeze" && len(d.readers[name]) == 1 && is(n.Input(1), 1) {
		if g, j := d.made(n.Inputs[0]); g != nil && g.Op == "Gather" && integer(g, "axis", 0) == 1 && is(g.Input(1), -1) && len(d.readers[n.Inputs[0]]) == 1 {
			return g.Inputs[0], []int{i, j}
		}
	}
	if n != nil && n.Op == "Gather" && integer(n, "axis", 0) == 1 && is(n.Input(1), -1) && len(d.readers[name]) == 1 {
		if t := d.constants[n.Inputs[1]]; len(t.Dims) == 1 {
			return n.Inputs[0], []int{i}
		}
	}
	return name, nil
}
