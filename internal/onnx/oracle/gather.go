package oracle

import "slices"

// index counts a negative index from the end.
func (c *call) index(v float64, n int) int {
	i := toInt(v)
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		c.fail("index %v of %d", v, n)
		return 0
	}
	return i
}

func gather(c *call) []*Tensor {
	x, indices := c.in[0], c.in[1]
	axis := c.axis(c.integer("axis", 0), len(x.Dims))
	if c.run.err != nil {
		return nil
	}
	dims := slices.Concat(x.Dims[:axis], indices.Dims, x.Dims[axis+1:])
	n, inner := x.Dims[axis], strides(x.Dims)[axis]
	return c.make(x.Kind, dims, func(i int) float64 {
		outer, at, rest := i/inner/indices.size, i/inner%indices.size, i%inner
		k := c.index(indices.get(at), n)
		if c.run.err != nil {
			return 0
		}
		return x.get((outer*n+k)*inner + rest)
	})
}

// tuples reads the last axis of a tensor as indices into the first axes of dims, and returns how many axes and the offset of each.
func (c *call) tuples(indices *Tensor, dims []int) (depth int, offset func(i int) int) {
	rank := len(indices.Dims)
	if rank == 0 || indices.Dims[rank-1] > len(dims) || indices.Dims[rank-1] == 0 {
		c.fail("indices of shape %v into %v", indices.Dims, dims)
		return 0, nil
	}
	depth = indices.Dims[rank-1]
	steps := strides(dims)
	return depth, func(i int) int {
		at := 0
		for d := range depth {
			at += c.index(indices.get(i*depth+d), dims[d]) * steps[d]
		}
		return at
	}
}

func gatherND(c *call) []*Tensor {
	x, indices := c.in[0], c.in[1]
	if c.integer("batch_dims", 0) != 0 {
		return c.fail("batch_dims: %w", ErrUnknown)
	}
	depth, offset := c.tuples(indices, x.Dims)
	if offset == nil {
		return nil
	}
	dims := slices.Concat(indices.Dims[:len(indices.Dims)-1], x.Dims[depth:])
	inner := 1
	for _, d := range x.Dims[depth:] {
		inner *= d
	}
	return c.make(x.Kind, dims, func(i int) float64 {
		at := offset(i / inner)
		if c.run.err != nil {
			return 0
		}
		return x.get(at + i%inner)
	})
}

func scatterND(c *call) []*Tensor {
	x, indices, updates := c.in[0], c.in[1], c.in[2]
	if a := c.node.Attribute("reduction"); a != nil && a.String != "" && a.String != "none" {
		return c.fail("reduction %q: %w", a.String, ErrUnknown)
	}
	depth, offset := c.tuples(indices, x.Dims)
	if offset == nil {
		return nil
	}
	want := slices.Concat(indices.Dims[:len(indices.Dims)-1], x.Dims[depth:])
	if !slices.Equal(want, updates.Dims) {
		return c.fail("updates of shape %v, %v was expected", updates.Dims, want)
	}
	inner := 1
	for _, d := range x.Dims[depth:] {
		inner *= d
	}
	var placed map[int]int
	n := indices.size / depth
	return c.make(x.Kind, x.Dims, func(i int) float64 {
		// Exporters write x[:, :, :, :n] = y with an index for every element, each its own. (None may occur twice.)
		if k := i / inner; n*inner == x.size && offset(k) == k*inner {
			return updates.get(i)
		}
		if placed == nil {
			if n > 4*wholeMax || !c.run.spend(n) {
				c.fail("%d updates: %w", n, ErrUnknown)
				return 0
			}
			placed = make(map[int]int, n)
			for k := range n {
				placed[offset(k)/inner] = k
			}
		}
		if k, ok := placed[i/inner]; ok {
			return updates.get(k*inner + i%inner)
		}
		return x.get(i)
	})
}

// nonZero lists where a tensor is not 0: (dimensions, places).
func nonZero(c *call) []*Tensor {
	x := c.in[0]
	var found []int
	for i, v := range x.values(wholeMax) {
		if v != 0 {
			found = append(found, i)
		}
	}
	of, n := strides(x.Dims), len(found)
	return c.make(Int, []int{len(x.Dims), n}, func(i int) float64 {
		d := i / n
		return float64(found[i%n] / of[d] % x.Dims[d])
	})
}
