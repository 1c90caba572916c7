// Package oracle computes tensors of an ONNX graph in float64: slowly, from what the graph says alone, and only what is asked for.
// A rewrite of a graph is held against it.
//
// A shape is known at once; elements are computed when they are read, so that a mask of 100,000 columns costs what is looked at.
// Real arithmetic is computed, not float32's: a cast to a narrower float changes nothing.
// A hostile graph is an error, never a panic and never an unbounded amount of memory or time.
package oracle

import (
	"errors"
	"fmt"
	"math"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// ErrUnknown is wrapped by errors about what this package does not compute, or not at such a size.
var ErrUnknown = errors.New("not computed here")

const (
	wholeMax  = 1 << 18 // elements of a tensor that is computed as a whole
	stepsMax  = 1 << 26 // elements computed for one graph, about a second; a node's shape counts as much as shapeCost
	shapeCost = 64
	keptMax   = 1 << 24 // elements kept at a time, 128 MB
	depthMax  = 20000   // nodes one after the other; real models have below 10,000
	sizeMax   = 1 << 48 // elements of any tensor
	listMax   = 1 << 12 // elements of a shape, a list of axes and the like
)

// Kind is what arithmetic does with a tensor.
type Kind uint8

// The kinds of tensors.
const (
	Float Kind = iota
	Int
	Bool
)

// Tensor is a value of the graph.
type Tensor struct {
	Dims []int
	Kind Kind

	size  int
	at    func(i int) float64
	data  []float64
	run   *Run
	depth int
}

// Read returns the bytes of a constant: the graph's file and those beside it are the caller's.
type Read func(t *onnx.Tensor) ([]byte, error)

// Graph is a graph to compute tensors of. It is not safe for concurrent use.
type Graph struct {
	maker     map[string]*onnx.Node
	constants map[string]*onnx.Tensor
	opset     int64
	read      Read
	steps     int // that are left
}

// New prepares a graph of a model. It must not be changed afterwards.
func New(m *onnx.Model, read Read) *Graph {
	g := &Graph{maker: map[string]*onnx.Node{}, constants: map[string]*onnx.Tensor{}, read: read, steps: stepsMax}
	for _, o := range m.Opsets {
		if o.Domain == "" {
			g.opset = o.Version
		}
	}
	for i := range m.Graph.Initializers {
		g.constants[m.Graph.Initializers[i].Name] = &m.Graph.Initializers[i]
	}
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		for _, out := range n.Outputs {
			if out != "" { // an output that is left out
				g.maker[out] = n
			}
		}
	}
	return g
}

// Run computes tensors for one set of inputs.
type Run struct {
	graph  *Graph
	dense  int
	values map[string]*Tensor
	busy   map[string]bool
	whole  []*Tensor // those whose elements are kept
	kept   int
	depth  int
	err    error
}

// Run starts a run. A tensor of at most dense elements is computed as a whole when one of them is read; of larger ones only what is
// read is computed, each time anew.
func (g *Graph) Run(dense int) *Run {
	return &Run{graph: g, dense: min(dense, wholeMax), values: map[string]*Tensor{}, busy: map[string]bool{}}
}

// Feed gives a tensor its value; at is asked for elements by their index in row-major order.
func (r *Run) Feed(name string, kind Kind, dims []int, at func(i int) float64) {
	r.values[name] = r.tensor(kind, dims, at)
}

// Tensor returns a tensor with its shape.
func (r *Run) Tensor(name string) (*Tensor, error) {
	r.err = nil
	t := r.value(name)
	return t, r.err
}

// At returns one element.
func (r *Run) At(t *Tensor, i int) (float64, error) {
	r.err = nil
	if i < 0 || i >= t.size {
		return 0, fmt.Errorf("oracle: element %d of the shape %v", i, t.Dims)
	}
	v := t.get(i)
	return v, r.err
}

// Values returns all elements; they are the run's.
func (r *Run) Values(t *Tensor) ([]float64, error) {
	r.err = nil
	v := t.values(wholeMax)
	return v, r.err
}

// Forget drops what was computed of the elements, not of the shapes. They are computed anew when they are read.
func (r *Run) Forget() {
	for _, t := range r.whole {
		t.data = nil
	}
	r.whole, r.kept = nil, 0
}

func (r *Run) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("oracle: "+format, args...)
	}
}

// tensor makes one, or fails with nil.
func (r *Run) tensor(kind Kind, dims []int, at func(i int) float64) *Tensor {
	size := 1
	for _, d := range dims {
		if d < 0 || d > sizeMax || size > sizeMax/max(d, 1) {
			r.fail("a tensor of shape %v: %w", dims, ErrUnknown)
			return nil
		}
		size *= d
	}
	return &Tensor{Dims: dims, Kind: kind, size: size, at: at, run: r}
}

// get is one element, 0 after an error.
func (t *Tensor) get(i int) float64 {
	if t.data == nil && t.size <= t.run.dense {
		t.values(wholeMax)
	}
	if i < len(t.data) {
		return t.data[i]
	}
	if t.run.err != nil {
		return 0
	}
	t.run.spend(1)
	return t.at(i)
}

// spend counts what is computed.
func (r *Run) spend(steps int) bool {
	if r.graph.steps -= steps; r.graph.steps < 0 {
		r.fail("it takes more than %d steps: %w", stepsMax, ErrUnknown)
	}
	return r.err == nil
}

// values are all elements, nil after an error or if there are more than most.
func (t *Tensor) values(most int) []float64 {
	r := t.run
	switch {
	case t.data != nil:
		return t.data
	case t.size > most:
		r.fail("%d elements, at most %d were expected: %w", t.size, most, ErrUnknown)
	case r.kept+t.size > keptMax:
		r.fail("more than %d elements at a time: %w", keptMax, ErrUnknown)
	}
	if !r.spend(t.size) {
		return nil
	}
	data := make([]float64, t.size)
	for i := range data {
		if data[i] = t.at(i); r.err != nil {
			return nil
		}
	}
	t.data, r.kept, r.whole = data, r.kept+t.size, append(r.whole, t)
	return data
}

// value computes the shape of a tensor, nil after an error.
func (r *Run) value(name string) *Tensor {
	if t := r.values[name]; t != nil {
		return t
	}
	if r.err != nil {
		return nil
	}
	if c := r.graph.constants[name]; c != nil {
		t := r.constant(c)
		r.values[name] = t
		return t
	}
	n := r.graph.maker[name]
	switch {
	case n == nil:
		r.fail("nothing makes the tensor %q", name)
	case r.busy[name]:
		r.fail("%s needs what it makes", Label(n))
	case r.depth >= depthMax:
		r.fail("more than %d nodes one after the other: %w", depthMax, ErrUnknown)
	}
	if r.err != nil {
		return nil
	}
	r.busy[name] = true
	r.depth++
	r.compute(n)
	r.depth--
	delete(r.busy, name)
	return r.values[name]
}

// compute finds the shapes of a node's outputs.
func (r *Run) compute(n *onnx.Node) {
	c := &call{run: r, node: n}
	if !r.spend(shapeCost) {
		return
	}
	op, known := operators[n.Domain+":"+n.Op]
	if !known {
		c.fail("the operator: %w", ErrUnknown)
		return
	}
	depth := 0
	for _, in := range n.Inputs {
		var t *Tensor
		if in != "" {
			if t = r.value(in); t == nil {
				return
			}
			depth = max(depth, t.depth+1)
		}
		c.in = append(c.in, t)
	}
	if len(c.in) < op.inputs {
		c.fail("%d inputs, %d were expected", len(c.in), op.inputs)
		return
	}
	for i, t := range c.in[:op.inputs] {
		if t == nil {
			c.fail("input %d is absent", i)
			return
		}
	}
	if depth > depthMax {
		c.fail("more than %d nodes one after the other: %w", depthMax, ErrUnknown)
		return
	}
	made := op.apply(c)
	if r.err != nil {
		return
	}
	for i, t := range made {
		if i < len(n.Outputs) && n.Outputs[i] != "" && t != nil {
			t.depth = depth
			r.values[n.Outputs[i]] = t
		}
	}
	for _, out := range n.Outputs {
		if out != "" && r.values[out] == nil {
			c.fail("output %q: %w", out, ErrUnknown)
		}
	}
}

// Label names a node in messages.
func Label(n *onnx.Node) string {
	name := n.Name
	if name == "" && len(n.Outputs) > 0 {
		name = n.Outputs[0]
	}
	return fmt.Sprintf("%s %q", n.Op, name)
}

// toInt converts to an integer; what is too large or no number becomes the nearest one.
func toInt(v float64) int {
	switch {
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	case v != v:
		return 0
	}
	return int(v)
}
