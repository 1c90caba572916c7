package derive

import (
	"math"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// linear is a matrix product that was found.
type linear struct {
	node   int    // whose place it takes
	input  string // (..., inputs)
	output string // (..., outputs)
	matrix int
	bias   int // in the table of floats, -1: none
	target int // of adapters, -1: none
	gone   bool
}

// sizeMax bounds the dimensions of a matrix, far above any real one.
const sizeMax = 1 << 24

// findLinears finds the products with quantised weights.
func (d *deriver) findLinears() {
	for i := range d.graph.Nodes {
		n := &d.graph.Nodes[i]
		if n.Op != "MatMulNBits" || n.Domain != "com.microsoft" {
			continue
		}
		m, why := d.quantised(n)
		if why != "" {
			d.keep(n, "%s", why)
			continue
		}
		l := &linear{node: i, input: n.Inputs[0], output: n.Outputs[0], bias: -1}
		bias := n.Input(5)
		b := d.vector(bias, m.Outputs)
		if bias != "" && b == nil {
			d.keep(n, "its bias is no constant of %d float32", m.Outputs)
			continue
		}
		var ok bool
		if l.matrix, ok = d.addMatrix(m); !ok {
			d.keep(n, elsewhere)
			continue
		}
		if b != nil {
			l.bias = d.addFloats(b)
		}
		d.replaced[i] = nil
		l.target = d.plan.addTarget(n, m.Name, m.Inputs, m.Outputs, true)
		d.absorbBias(l, m.Outputs)
		d.linears[l.output] = l
		d.order = append(d.order, l)
	}
}

// quantised reads a MatMulNBits node; why says what the kernels cannot do.
func (d *deriver) quantised(n *onnx.Node) (m Matrix, why string) {
	if len(n.Inputs) < 3 || len(n.Outputs) != 1 {
		return m, "it lacks inputs or outputs"
	}
	m = Matrix{Name: n.Inputs[1], Outputs: integer(n, "N", 0), Inputs: integer(n, "K", 0), Block: integer(n, "block_size", 0), Bits: integer(n, "bits", 4)}
	m.Codes, m.Scales = d.initializer(n.Inputs[1]), d.initializer(n.Inputs[2])
	switch {
	case m.Codes == nil || m.Scales == nil:
		return m, "its weights are no constants"
	case n.Input(4) != "":
		return m, "its weights are grouped by an index"
	case integer(n, "weight_prepacked", 0) != 0:
		return m, "its weights are packed for the runtime already"
	case m.Scales.Type != onnx.Float32:
		return m, "it computes in " + m.Scales.Type.String()
	}
	if why := m.check(); why != "" {
		return m, why
	}
	return m, d.readZeros(&m, n.Input(3))
}

// readZeros gives a matrix its stored zero points, if there are any.
func (d *deriver) readZeros(m *Matrix, name string) (why string) {
	if name == "" {
		return ""
	}
	if m.Zeros = d.initializer(name); m.Zeros == nil || m.Zeros.Type != onnx.Uint8 {
		return "its zero points are no constants of uint8"
	}
	if _, ok := m.ZerosPacked(); !ok {
		return "its zero points have another size than its blocks need"
	}
	return ""
}

// check says what is wrong with a matrix's sizes and tensors.
func (m Matrix) check() string {
	if m.Outputs < 1 || m.Inputs < 1 || m.Outputs > sizeMax || m.Inputs > sizeMax || m.Bits != 4 && m.Bits != 8 {
		return "its sizes, or bits other than 4 and 8, are not known to the kernels"
	}
	if !slices.Contains([]int{16, 32, 64, 128}, m.Block) || m.Inputs%m.Block != 0 {
		return "its blocks are not of 16, 32, 64 or 128 inputs, or do not fill its inputs"
	}
	size, err := m.Codes.Size()
	if err != nil || size != int64(m.Outputs)*int64(m.Inputs)*int64(m.Bits)/8 {
		return "its codes have another size than its shape needs"
	}
	if n, err := m.Scales.Elements(); err != nil || n != int64(m.Outputs)*int64(m.Inputs/m.Block) {
		return "its scales are not one for each block"
	}
	return ""
}

// ZerosPacked says whether zero points are packed as codes are; false for one byte each. ok is false if they are neither.
func (m Matrix) ZerosPacked() (packed, ok bool) {
	if m.Zeros == nil {
		return false, true
	}
	n, err := m.Zeros.Elements()
	blocks := m.Inputs / m.Block
	switch {
	case err != nil:
		return false, false
	case n == int64(m.Outputs)*int64((blocks*m.Bits+7)/8):
		return true, true
	}
	return false, n == int64(m.Outputs)*int64(blocks)
}

// absorbBias takes in an addition that follows and adds one constant to every row.
func (d *deriver) absorbBias(l *linear, outputs int) {
	next, i := d.onlyReader(l.output)
	if l.bias >= 0 || next == nil || next.Op != "Add" || next.Domain != "" || len(next.Inputs) != 2 || len(next.Outputs) != 1 {
		return
	}
	other := next.Inputs[0]
	if other == l.output {
		other = next.Inputs[1]
	}
	if b := d.vector(other, outputs); b != nil {
		l.bias, l.output = d.addFloats(b), next.Outputs[0]
		d.replaced[i] = nil
	}
}

// vector is a constant of n float32, nil if the tensor is none.
func (d *deriver) vector(name string, n int) *onnx.Tensor {
	t := d.initializer(name)
	if t == nil || t.Type != onnx.Float32 || len(t.Dims) == 0 || t.Dims[len(t.Dims)-1] != int64(n) {
		return nil
	}
	if size, err := t.Elements(); err != nil || size != int64(n) {
		return nil
	}
	return t
}

// findHead finds a language head that exporters leave in float32 because it is the embedding's transpose: the largest matrix of the
// model, which is quantised to 8 bits.
func (d *deriver) findHead() {
	n, i := d.made(d.spec.Logits)
	if n == nil || n.Op != "MatMul" || n.Domain != "" || len(n.Inputs) != 2 {
		return
	}
	if _, done := d.replaced[i]; done {
		return
	}
	m := Matrix{Name: n.Inputs[1], Bits: 8, Block: 32, Transposed: true, Weights: d.initializer(n.Inputs[1])}
	if t, _ := d.made(n.Inputs[1]); t != nil && t.Op == "Transpose" && len(t.Inputs) == 1 {
		m.Weights, m.Transposed = d.initializer(t.Inputs[0]), false
	}
	if m.Weights == nil || m.Weights.Type != onnx.Float32 || len(m.Weights.Dims) != 2 {
		d.keep(n, "the language head's weights are no constant matrix of float32")
		return
	}
	rows, columns := m.Weights.Dims[0], m.Weights.Dims[1]
	if m.Transposed {
		rows, columns = columns, rows
	}
	if rows < 1 || rows > sizeMax || columns < 1 || columns > sizeMax || columns%32 != 0 {
		d.keep(n, "the language head's inputs are no multiple of 32")
		return
	}
	m.Outputs, m.Inputs = int(rows), int(columns)
	at, ok := d.addMatrix(m)
	if !ok {
		d.keep(n, elsewhere)
		return
	}
	l := &linear{node: i, input: n.Inputs[0], output: n.Outputs[0], matrix: at, bias: -1}
	l.target = d.plan.addTarget(n, m.Weights.Name, m.Inputs, m.Outputs, true)
	d.replaced[i] = nil
	d.linears[l.output] = l
	d.order = append(d.order, l)
}

// join makes one node of the products that read the same tensor, so that it is quantised once, and lays out all that are left.
func (d *deriver) join() {
	var groups [][]*linear
	byInput := map[string]int{}
	for _, l := range d.order {
		if l.gone {
			continue
		}
		at, known := byInput[l.input]
		if known && len(groups[at]) < 8 && d.alike(groups[at][0], l) {
			groups[at] = append(groups[at], l)
			continue
		}
		byInput[l.input] = len(groups)
		groups = append(groups, []*linear{l})
	}
	for _, g := range groups {
		n := &onnx.Node{Name: g[0].output, Op: "Linear", Domain: Domain, Inputs: []string{g[0].input}}
		var matrices, biases, targets []int64
		for _, l := range g {
			n.Outputs = append(n.Outputs, l.output)
			matrices, biases, targets = append(matrices, int64(l.matrix)), append(biases, int64(l.bias)), append(targets, int64(l.target))
		}
		n.Attributes = []onnx.Attribute{{Name: "matrices", Ints: matrices}, {Name: "biases", Ints: biases}, {Name: "targets", Ints: targets}}
		d.replaced[g[0].node] = n
	}
}

// alike says whether two products can share the quantised form of their input.
func (d *deriver) alike(a, b *linear) bool {
	x, y := d.plan.Matrices[a.matrix], d.plan.Matrices[b.matrix]
	return x.Inputs == y.Inputs && (x.Block == 16) == (y.Block == 16)
}

// integer is an attribute, absent where the node does not have it, -1 where it is out of any reason.
func integer(n *onnx.Node, name string, absent int) int {
	a := n.Attribute(name)
	switch {
	case a == nil:
		return absent
	case a.Int < 0 || a.Int > math.MaxInt32:
		return -1
	}
	return int(a.Int)
}
