package derive

import "github.com/shammah/shammah-engine/internal/onnx"

// embed finds where token ids become vectors.
func (d *deriver) embed() {
	for _, i := range d.readers[d.spec.InputIDs] {
		if i < 0 {
			continue
		}
		n := &d.graph.Nodes[i]
		m, ok := Matrix{}, false
		switch {
		case n.Op == "GatherBlockQuantized" && n.Domain == "com.microsoft":
			m, ok = d.quantisedRows(n)
		case n.Op == "Gather" && n.Domain == "" && n.Input(1) == d.spec.InputIDs && integer(n, "axis", 0) == 0:
			m, ok = d.plainRows(n)
		}
		if !ok {
			continue
		}
		at, ok := d.addMatrix(m)
		if !ok {
			d.keep(n, elsewhere)
			continue
		}
		d.replaced[i] = &onnx.Node{
			Name: n.Outputs[0], Op: "Embed", Domain: Domain, Inputs: []string{d.spec.InputIDs}, Outputs: n.Outputs,
			Attributes: []onnx.Attribute{{Name: "matrices", Ints: []int64{int64(at)}}},
		}
	}
}

// quantisedRows reads an embedding that is quantised along its rows, as the weights of a product are.
func (d *deriver) quantisedRows(n *onnx.Node) (Matrix, bool) {
	if len(n.Inputs) < 3 || len(n.Outputs) != 1 || n.Inputs[1] != d.spec.InputIDs {
		return Matrix{}, false
	}
	codes := d.initializer(n.Inputs[0])
	if r, _ := d.made(n.Inputs[0]); r != nil && r.Op == "Reshape" && r.Domain == "" {
		codes = d.initializer(r.Inputs[0]) // of a language head, which the embedding shares
	}
	scales := d.initializer(n.Inputs[2])
	if codes == nil || scales == nil || scales.Type != onnx.Float32 || len(scales.Dims) != 2 || codes.Type != onnx.Uint8 ||
		integer(n, "gather_axis", 0) != 0 || integer(n, "quantize_axis", 1) != 1 {
		d.keep(n, "its weights are not uint8 codes with float32 scales along the rows")
		return Matrix{}, false
	}
	m := Matrix{Name: codes.Name, Lookup: true, Block: integer(n, "block_size", 128), Bits: integer(n, "bits", 4), Codes: codes, Scales: scales}
	m.Outputs, m.Inputs = int(min(scales.Dims[0], sizeMax+1)), int(min(scales.Dims[1], sizeMax))*max(m.Block, 0)
	if why := m.check(); why != "" {
		d.keep(n, "%s", why)
		return m, false
	}
	if why := d.readZeros(&m, n.Input(3)); why != "" {
		d.keep(n, "%s", why)
		return m, false
	}
	if m.Zeros == nil && m.Bits != 4 { // of 4 bits the operator takes 8, as the product does
		d.keep(n, "8 bits without zero points")
		return m, false
	}
	return m, true
}

// plainRows reads an embedding of float32, whose rows are read where they lie in the file.
func (d *deriver) plainRows(n *onnx.Node) (Matrix, bool) {
	w := d.initializer(n.Inputs[0])
	if w == nil || w.Type != onnx.Float32 || len(w.Dims) != 2 || len(n.Outputs) != 1 || w.Dims[0] > sizeMax || w.Dims[1] > sizeMax {
		return Matrix{}, false
	}
	if size, err := w.Size(); err != nil || size < 1<<20 {
		return Matrix{}, false
	}
	return Matrix{Name: w.Name, Outputs: int(w.Dims[0]), Inputs: int(w.Dims[1]), Bits: 32, Weights: w, Lookup: true}, true
}
