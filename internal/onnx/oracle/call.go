package oracle

import (
	"fmt"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// operator computes one kind of node.
type operator struct {
	inputs int // that must be there
	apply  func(c *call) []*Tensor
}

// call is one node with its inputs; an absent one is nil.
type call struct {
	run  *Run
	node *onnx.Node
	in   []*Tensor
}

func (c *call) fail(format string, args ...any) []*Tensor {
	c.run.fail("%s: %w", Label(c.node), fmt.Errorf(format, args...))
	return nil
}

func (c *call) input(i int) *Tensor {
	if i < len(c.in) {
		return c.in[i]
	}
	return nil
}

func (c *call) integer(name string, absent int) int {
	if a := c.node.Attribute(name); a != nil {
		return toInt(float64(a.Int))
	}
	return absent
}

// make returns one output.
func (c *call) make(kind Kind, dims []int, at func(i int) float64) []*Tensor {
	t := c.run.tensor(kind, dims, at)
	if t == nil {
		return nil
	}
	return []*Tensor{t}
}

// list reads an input that holds a shape, axes and the like; absent ones are nil.
func (c *call) list(i int) []int {
	t := c.input(i)
	if t == nil {
		return nil
	}
	v := t.values(listMax)
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = toInt(x)
	}
	return out
}

// axes reads axes that are an attribute or an input, and counts negative ones from the end of rank dimensions.
func (c *call) axes(i, rank int) []int {
	list := c.list(i)
	if a := c.node.Attribute("axes"); a != nil && list == nil {
		for _, x := range a.Ints {
			list = append(list, toInt(float64(x)))
		}
	}
	out := make([]int, len(list))
	seen := map[int]bool{}
	for i, a := range list {
		if out[i] = c.axis(a, rank); seen[out[i]] {
			c.fail("axis %d twice", a)
		}
		seen[out[i]] = true
	}
	return out
}

// axis counts a negative axis from the end; it is 0 after an error.
func (c *call) axis(a, rank int) int {
	if a < 0 {
		a += rank
	}
	if a < 0 || a >= rank {
		c.fail("axis %d of %d dimensions", a, rank)
		return 0
	}
	return a
}

// strides of a shape in row-major order.
func strides(dims []int) []int {
	s := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = step
		step *= dims[i]
	}
	return s
}

// walk maps an index into dims to one with other steps, from an offset.
func walk(dims, steps []int, offset int) func(i int) int {
	dims, steps = append([]int(nil), dims...), append([]int(nil), steps...)
	return func(i int) int {
		at := offset
		for d := len(dims) - 1; d >= 0; d-- {
			at += i % dims[d] * steps[d]
			i /= dims[d]
		}
		return at
	}
}

// position splits an index into one for each dimension.
func position(dims []int, i int, into []int) {
	for d := len(dims) - 1; d >= 0; d-- {
		into[d] = i % dims[d]
		i /= dims[d]
	}
}

// broadcast is the shape of an operation on all of these.
func (c *call) broadcast(list ...[]int) []int {
	var out []int
	for _, dims := range list {
		for len(out) < len(dims) {
			out = append([]int{1}, out...)
		}
		shift := len(out) - len(dims)
		for i, d := range dims {
			switch {
			case out[shift+i] == 1:
				out[shift+i] = d
			case d != 1 && d != out[shift+i]:
				c.fail("the shapes %v do not fit each other", list)
				return nil
			}
		}
	}
	return out
}

// spread maps an index into a shape to the element of a smaller tensor that is repeated there.
func spread(from, to []int) func(i int) int {
	shift := len(to) - len(from)
	steps, single, same := make([]int, len(to)), true, shift == 0
	for i, s := range strides(from) {
		if from[i] != 1 {
			steps[shift+i], single = s, false
		}
		same = same && from[i] == to[shift+i]
	}
	switch {
	case single:
		return func(int) int { return 0 }
	case same:
		return func(i int) int { return i }
	}
	return walk(to, steps, 0)
}
