package derive

import (
	"encoding/binary"
	"math"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Table is the cosines or sines of a rotary embedding, computed for as many positions as the context has.
type Table struct {
	Frequencies []float32 // (pairs)
	Factor      float32   // of every value
	Sine        bool
}

// Rows is the table's values for positions 0 to n-1, (n, pairs).
func (t *Table) Rows(n int) []float32 {
	rows := make([]float32, 0, n*len(t.Frequencies))
	for p := range n {
		for _, f := range t.Frequencies {
			// The angle is rounded to float32, as the graphs do.
			sin, cos := math.Sincos(float64(float32(p) * f))
			if t.Sine {
				cos = sin
			}
			rows = append(rows, float32(cos)*t.Factor)
		}
	}
	return rows
}

// fuse gives attention of plain nodes to the kernels, over one cache for past and present.
func (d *deriver) fuse(layers []Unfused) {
	last, total := d.lengths()
	for i := range layers {
		u := &layers[i]
		at := d.maker[u.Output]
		query := d.joined(u.Query, u.QueryShape, at)
		key := d.joined(u.Key, u.KeyShape, at)
		value := d.joined(u.Value, u.ValueShape, at)
		n := &onnx.Node{
			Name: u.Output, Op: d.attentionOp(), Domain: Domain,
			Inputs:  []string{query, key, value, u.PastKey, u.PastValue, last, total},
			Outputs: []string{u.Output, u.PresentKey, u.PresentValue},
			Attributes: []onnx.Attribute{
				{Name: "num_heads", Int: int64(u.Heads)}, {Name: "kv_num_heads", Int: int64(u.KVHeads)}, {Name: "head_dim", Int: int64(u.HeadDim)},
				{Name: "scale", Float: u.Scale}, {Name: "local_window_size", Int: int64(u.Window)},
			},
		}
		if u.Softcap != 0 {
			n.Attributes = append(n.Attributes, onnx.Attribute{Name: "softcap", Float: u.Softcap})
		}
		if u.RotaryDim > 0 {
			cosines, sines := d.tables(u)
			n.Attributes = append(n.Attributes, onnx.Attribute{Name: "rotary_dim", Int: int64(u.RotaryDim)}, onnx.Attribute{Name: "cosines", Int: cosines},
				onnx.Attribute{Name: "sines", Int: sines})
			if u.Interleaved {
				n.Attributes = append(n.Attributes, onnx.Attribute{Name: "rotary_interleaved", Int: 1})
			}
		}
		d.replaced[d.maker[u.PresentKey]], d.replaced[d.maker[u.PresentValue]] = nil, nil
		d.replaced[at] = n
	}
	d.plan.Shared = true
	if d.half {
		d.halve()
	}
}

// tables puts a layer's rotary tables in the list, once for layers that turn alike.
func (d *deriver) tables(u *Unfused) (cosines, sines int64) {
	key := string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(u.RotaryScale)))
	for _, f := range u.InverseFrequencies {
		key += string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)))
	}
	i, known := d.floats[key]
	if !known {
		i = len(d.plan.Floats)
		for _, sine := range []bool{false, true} {
			d.plan.Floats = append(d.plan.Floats, Floats{Table: &Table{u.InverseFrequencies, u.RotaryScale, sine}})
		}
		d.floats[key] = i
	}
	return int64(i), int64(i + 1)
}

// joined is a tensor with all heads of a token side by side, transposed where it has heads first.
func (d *deriver) joined(name string, s HeadShape, at int) string {
	if s != HeadsFirst {
		return name
	}
	out := name + ".joined"
	d.addBefore(at, onnx.Node{Name: out, Op: "Transpose", Inputs: []string{name}, Outputs: []string{out}, Attributes: []onnx.Attribute{{Name: "perm", Ints: []int64{0, 2, 1, 3}}}})
	return out
}

// lengths adds the nodes that make each row's length, less one, and the longest out of the mask, as onnxruntime-genai's graphs do.
func (d *deriver) lengths() (last, total string) {
	const at = -1 // before all others
	word := func(name string, v int64, dims ...int64) string {
		d.graph.Initializers = append(d.graph.Initializers, onnx.Tensor{Name: name, Type: onnx.Int64, Dims: dims, Data: binary.LittleEndian.AppendUint64(nil, uint64(v))})
		return name
	}
	one, first := word("shammah.one", 1, 1), word("shammah.first", 1)
	add := func(op, out string, inputs []string, attributes ...onnx.Attribute) string {
		d.addBefore(at, onnx.Node{Name: out, Op: op, Inputs: inputs, Outputs: []string{out}, Attributes: attributes})
		return out
	}
	toInt32 := onnx.Attribute{Name: "to", Int: int64(onnx.Int32)}
	last = add("ReduceSum", "shammah.tokens", []string{d.spec.Mask, one}, onnx.Attribute{Name: "keepdims", Int: 0})
	last = add("Sub", "shammah.last", []string{last, one})
	last = add("Cast", "shammah.last32", []string{last}, toInt32)
	total = add("Shape", "shammah.shape", []string{d.spec.Mask})
	total = add("Gather", "shammah.total", []string{total, first}, onnx.Attribute{Name: "axis", Int: 0})
	return last, add("Cast", "shammah.total32", []string{total}, toInt32)
}
