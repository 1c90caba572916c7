// Package derive rewrites a model's graph for the kernels of package cpu: quantised matrix products, gated activations, embeddings
// and attention become operators of domain ai.shammah, which find their weights in a table that the engine packs, and the language
// head computes only the rows that are asked for. What is not exactly understood stays as it is, and is listed with the reason.
//
// It reads graphs, never weights: the plan that comes out says which tensors are to be packed.
package derive

import (
	"errors"
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// Domain is that of the operators in package cpu.
const Domain = "ai.shammah"

// RowsInput is the input of a derived graph that lists which of the run's tokens get logits, (n) int64.
const RowsInput = "shammah.logits_rows"

// ErrNothing says that a graph has nothing that the kernels could do better.
var ErrNothing = errors.New("no quantised matrix product that the kernels know")

// Plan is a derived graph and the weights that it needs.
type Plan struct {
	Model    *onnx.Model
	Matrices []Matrix
	Pairs    [][2]int // matrices of gate and up, which are read in turn: a tile of one, a tile of the other
	Floats   []Floats
	Targets  []Target // what adapters may add to
	Kept     []Kept   // what stays with the runtime
	Nodes    int      // that the kernels compute
	Rows     bool     // the graph has RowsInput
	Half     bool     // the cache is float16, though it is not in the original
	Shared   bool     // past and present are one buffer, though they are not in the original
}

// Matrix is a weight matrix (outputs, inputs) to be packed from tensors of the original.
type Matrix struct {
	Name            string
	Outputs, Inputs int
	Block, Bits     int          // 32 bits: plain rows, for Embed
	Codes           *onnx.Tensor // (outputs, inputs/block, block*bits/8), as MatMulNBits has it
	Scales          *onnx.Tensor // (outputs, inputs/block) float32
	Zeros           *onnx.Tensor // zero points, packed as codes are or one byte each; nil: 8, or 128 for 8 bits
	Weights         *onnx.Tensor // in place of codes and scales: float32 weights, quantised when they are packed
	Transposed      bool         // Weights are (inputs, outputs)
	Lookup          bool         // a step reads one row alone
}

// Floats is a list of floats that a node needs: a tensor of the original, or a table.
type Floats struct {
	Tensor *onnx.Tensor
	Table  *Table
}

// Kept is a node that the runtime still computes although the kernels have an operator for it.
type Kept struct{ Node, Op, Why string }

// String is one line for people.
func (k Kept) String() string {
	if k.Node == "" {
		return k.Op + " stays with the runtime: " + k.Why
	}
	return k.Op + " " + k.Node + " stays with the runtime: " + k.Why
}

// Options say what may be derived.
type Options struct {
	HalfCache bool                                 // keys and values in float16, where attention is the kernels'
	Adapters  bool                                 // places for adapters behind the products that stay with the runtime, too
	Read      func(t *onnx.Tensor) ([]byte, error) // the bytes of a small constant
}

// Derive plans the graph of m for the model that spec describes. m is edited; it must have been read for this alone.
// The error wraps ErrNothing where the original should run as it is.
func Derive(m *onnx.Model, spec *model.Spec, o Options) (*Plan, error) {
	if len(m.Functions) > 0 {
		return nil, fmt.Errorf("derive: the graph has functions of its own: %w", ErrNothing)
	}
	if err := unbranch(m.Graph); err != nil {
		return nil, err
	}
	d := &deriver{half: o.HalfCache, plan: &Plan{Model: m}, graph: m.Graph, spec: spec, before: map[int][]onnx.Node{}, matrices: map[string]int{}, floats: map[string]int{}, linears: map[string]*linear{}}
	d.index()
	d.findLinears()
	if len(d.linears) == 0 {
		return nil, fmt.Errorf("derive: %w", ErrNothing)
	}
	var unfused []Unfused
	if !spec.Shared && len(spec.Past) > 0 {
		found, err := FindUnfused(m, spec, o.Read)
		switch {
		case errors.Is(err, ErrUnfused):
			d.plan.Kept = append(d.plan.Kept, Kept{Op: "attention", Why: err.Error()})
		case err != nil:
			return nil, err
		case spec.Mask == "" || spec.Combined:
			d.plan.Kept = append(d.plan.Kept, Kept{Op: "attention", Why: "the graph has no mask, or keys and values in one tensor"})
		default:
			unfused = found
		}
	}
	d.findHead()
	d.gate()
	d.join()
	d.embed()
	if spec.Shared {
		d.attend()
	}
	unused := UnusedInputs(m.Graph, unfused)
	if unfused != nil {
		d.fuse(unfused)
	}
	d.asRows()
	d.apply()
	d.dropInputs(unused)
	if err := d.sweep(); err != nil {
		return nil, err
	}
	if o.Adapters {
		d.plan.adapt()
	}
	m.Opsets = append(m.Opsets, onnx.Opset{Domain: Domain, Version: 1})
	return d.plan, nil
}

// deriver gathers what is found; nothing is changed before apply.
type deriver struct {
	plan  *Plan
	half  bool // the cache becomes float16
	graph *onnx.Graph
	spec  *model.Spec

	constants map[string]*onnx.Tensor // initializers, and the values of Constant nodes
	maker     map[string]int          // node that makes a tensor
	readers   map[string][]int        // nodes that read a tensor; -1 for the graph's outputs and for nodes of branches

	matrices map[string]int // by the name of the codes or weights, in plan.Matrices
	floats   map[string]int // by tensor, in plan.Floats

	linears  map[string]*linear // by output
	order    []*linear
	replaced map[int]*onnx.Node  // what takes a node's place; nil: nothing
	before   map[int][]onnx.Node // new nodes before an old one; -1: before all
}

// index finds who makes and who reads each tensor.
func (d *deriver) index() {
	d.constants, d.maker, d.readers, d.replaced = map[string]*onnx.Tensor{}, map[string]int{}, map[string][]int{}, map[int]*onnx.Node{}
	for i := range d.graph.Initializers {
		d.constants[d.graph.Initializers[i].Name] = &d.graph.Initializers[i]
	}
	for _, v := range d.graph.Inputs {
		delete(d.constants, v.Name) // a weight that a run may replace is none
	}
	for i := range d.graph.Nodes {
		n := &d.graph.Nodes[i]
		for _, in := range n.Inputs {
			d.readers[in] = append(d.readers[in], i)
		}
		for _, out := range n.Outputs {
			d.maker[out] = i
		}
		if a := n.Attribute("value"); n.Op == "Constant" && n.Domain == "" && a != nil && a.Tensor != nil && len(n.Outputs) == 1 {
			d.constants[n.Outputs[0]] = a.Tensor
		}
		for _, a := range n.Attributes {
			for _, g := range a.Graphs {
				d.branch(g)
			}
		}
	}
	for _, v := range d.graph.Outputs {
		d.readers[v.Name] = append(d.readers[v.Name], -1)
	}
}

// branch marks everything that a branch reads.
func (d *deriver) branch(g *onnx.Graph) {
	for i := range g.Nodes {
		for _, in := range g.Nodes[i].Inputs {
			d.readers[in] = append(d.readers[in], -1)
		}
		for _, a := range g.Nodes[i].Attributes {
			for _, inner := range a.Graphs {
				d.branch(inner)
			}
		}
	}
	for _, v := range g.Outputs {
		d.readers[v.Name] = append(d.readers[v.Name], -1)
	}
}

// onlyReader is the one node that reads a tensor, nil if there are several or the graph gives it out.
func (d *deriver) onlyReader(name string) (*onnx.Node, int) {
	r := d.readers[name]
	if len(r) == 0 || r[0] < 0 {
		return nil, -1
	}
	for _, i := range r[1:] {
		if i != r[0] {
			return nil, -1
		}
	}
	return &d.graph.Nodes[r[0]], r[0]
}

// made is the node that makes a tensor, nil for inputs and constants.
func (d *deriver) made(name string) (*onnx.Node, int) {
	if i, ok := d.maker[name]; ok && name != "" {
		return &d.graph.Nodes[i], i
	}
	return nil, -1
}

// initializer is the weight of that name, nil if it is none that stays the same in every run.
func (d *deriver) initializer(name string) *onnx.Tensor {
	if _, made := d.maker[name]; made {
		return nil
	}
	return d.constants[name]
}

func (d *deriver) keep(n *onnx.Node, format string, args ...any) {
	d.plan.Kept = append(d.plan.Kept, Kept{n.Name, n.Op, fmt.Sprintf(format, args...)})
}

// addFloats puts a tensor in the table.
func (d *deriver) addFloats(t *onnx.Tensor) int {
	i, known := d.floats[t.Name]
	if !known {
		i = len(d.plan.Floats)
		d.plan.Floats = append(d.plan.Floats, Floats{Tensor: t})
		d.floats[t.Name] = i
	}
	return i
}

// addMatrix puts a matrix in the table, once for each tensor of codes. ok is false where the same codes are there as another matrix.
func (d *deriver) addMatrix(m Matrix) (i int, ok bool) {
	key := ""
	if m.Codes != nil {
		key = m.Codes.Name
	} else {
		key = fmt.Sprintf("%s/%d", m.Weights.Name, m.Bits)
	}
	i, known := d.matrices[key]
	if !known {
		i = len(d.plan.Matrices)
		d.plan.Matrices = append(d.plan.Matrices, m)
		d.matrices[key] = i
		return i, true
	}
	there := d.plan.Matrices[i]
	there.Name, there.Lookup = m.Name, m.Lookup
	return i, there == m
}

// elsewhere is why a node stays whose codes addMatrix has as another matrix.
const elsewhere = "its codes are used elsewhere in another shape or with other scales"

func (d *deriver) addBefore(at int, n onnx.Node) { d.before[at] = append(d.before[at], n) }

// apply puts the new nodes in the places of old ones.
func (d *deriver) apply() {
	nodes := append(make([]onnx.Node, 0, len(d.graph.Nodes)), d.before[-1]...)
	for i := range d.graph.Nodes {
		nodes = append(nodes, d.before[i]...)
		n, changed := d.replaced[i]
		switch {
		case !changed:
			nodes = append(nodes, d.graph.Nodes[i])
		case n != nil:
			nodes = append(nodes, *n)
			d.plan.Nodes++
		}
	}
	d.graph.Nodes = nodes
}

// dropInputs removes the positions, where nothing needs them any more.
func (d *deriver) dropInputs(unused []string) {
	if d.plan.Shared && slices.Contains(unused, d.spec.Positions) {
		d.graph.Inputs = slices.DeleteFunc(d.graph.Inputs, func(v onnx.Value) bool { return v.Name == d.spec.Positions })
	}
}

// Describe changes a description of the original into one of the derived graph.
func (p *Plan) Describe(spec *model.Spec) {
	if p.Rows {
		spec.LogitsRows, spec.LastRowOnly = RowsInput, false
	}
	if p.Half {
		spec.KVType = "float16"
	}
	if p.Shared {
		spec.Shared, spec.Positions = true, ""
	}
	spec.SetWeights(p.memory())
}

// memory is what the weights take: packed matrices, tables by position and by token, and what stays as it is.
func (p *Plan) memory() (w model.Weights) {
	const float = 4
	for _, m := range p.Matrices {
		if w.Packed += m.bytes(); m.Bits == 32 {
			w.Table += int64(m.Outputs) * int64(m.Inputs) * float
		}
	}
	for i := range p.Model.Graph.Initializers {
		if size, err := p.Model.Graph.Initializers[i].Size(); err == nil && size > 0 {
			w.Kept += size
		}
	}
	for _, f := range p.Floats {
		if f.Table != nil {
			w.PerToken += int64(len(f.Table.Frequencies)) * float
		} else if d := f.Tensor.Dims; len(d) == 2 && d[0] > 0 && d[1] > 0 && d[1] <= sizeMax {
			w.PerToken += d[1] * float // of tables that are longer than the context, no more is read
		} else if size, err := f.Tensor.Size(); err == nil && size > 0 {
			w.Kept += size
		}
	}
	return w
}

// bytes is the size of a packed matrix: tiles of 16 outputs with their codes, scales of two bytes, zero points if there are any, and a factor
// for each output. Rows of float32 stay in the file; what was looked up of them can be given back.
func (m Matrix) bytes() int64 {
	if m.Bits == 32 {
		return 0
	}
	const tile = 16
	up := func(n int) int64 { return int64(n+63) &^ 63 }
	blocks := m.Inputs / m.Block
	each := up(tile*m.Inputs*m.Bits/8) + up(2*tile*blocks) + 4*tile
	if m.Zeros != nil {
		each += up(tile * blocks)
	}
	return each * int64((m.Outputs+tile-1)/tile)
}
