package oracle

import "slices"

// as gives a tensor another shape.
func (c *call) as(t *Tensor, dims []int) []*Tensor {
	made := c.make(t.Kind, dims, t.get)
	if made != nil && made[0].size != t.size {
		return c.fail("shape %v cannot become %v", t.Dims, dims)
	}
	return made
}

func reshape(c *call) []*Tensor {
	x, to := c.in[0], c.list(1)
	rest, known := -1, 1
	for i, d := range to {
		switch {
		case d == 0 && c.integer("allowzero", 0) == 0:
			if i >= len(x.Dims) {
				return c.fail("shape %v cannot become %v", x.Dims, to)
			}
			to[i] = x.Dims[i]
		case d == -1 && rest < 0:
			rest = i
			continue
		case d < 0 || d > sizeMax:
			return c.fail("shape %v cannot become %v", x.Dims, to)
		}
		if known > sizeMax/max(to[i], 1) {
			return c.fail("shape %v cannot become %v", x.Dims, to)
		}
		known *= max(to[i], 1)
	}
	if rest >= 0 {
		if x.size%known != 0 || slices.Contains(to, 0) {
			return c.fail("shape %v cannot become %v", x.Dims, to)
		}
		to[rest] = x.size / known
	}
	return c.as(x, to)
}

func flatten(c *call) []*Tensor {
	x, axis := c.in[0], c.integer("axis", 1)
	if axis < 0 {
		axis += len(x.Dims)
	}
	if axis < 0 || axis > len(x.Dims) {
		return c.fail("axis %d of %d dimensions", axis, len(x.Dims))
	}
	rows := 1
	for _, d := range x.Dims[:axis] {
		rows *= d
	}
	columns := 1
	for _, d := range x.Dims[axis:] {
		columns *= d
	}
	return c.as(x, []int{rows, columns})
}

func unsqueeze(c *call) []*Tensor {
	x := c.in[0]
	rank := len(x.Dims) + len(c.list(1))
	if a := c.node.Attribute("axes"); a != nil && c.input(1) == nil {
		rank += len(a.Ints)
	}
	axes := c.axes(1, rank)
	if c.run.err != nil {
		return nil
	}
	var dims []int
	rest := x.Dims
	for i := range rank {
		if slices.Contains(axes, i) {
			dims = append(dims, 1)
			continue
		}
		dims, rest = append(dims, rest[0]), rest[1:]
	}
	return c.as(x, dims)
}

func squeeze(c *call) []*Tensor {
	x := c.in[0]
	axes := c.axes(1, len(x.Dims))
	if len(axes) == 0 {
		return c.fail("without axes: %w", ErrUnknown)
	}
	var dims []int
	for i, d := range x.Dims {
		if !slices.Contains(axes, i) {
			dims = append(dims, d)
		}
	}
	return c.as(x, dims)
}

func expand(c *call) []*Tensor {
	x := c.in[0]
	dims := c.broadcast(x.Dims, c.list(1))
	if c.run.err != nil {
		return nil
	}
	at := spread(x.Dims, dims)
	return c.make(x.Kind, dims, func(i int) float64 { return x.get(at(i)) })
}

func transpose(c *call) []*Tensor {
	x := c.in[0]
	rank := len(x.Dims)
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = rank - 1 - i
	}
	if a := c.node.Attribute("perm"); a != nil {
		perm = perm[:0]
		for _, p := range a.Ints {
			perm = append(perm, toInt(float64(p)))
		}
	}
	dims, steps, of := make([]int, rank), make([]int, rank), strides(x.Dims)
	sorted := slices.Sorted(slices.Values(perm))
	ordered := len(sorted) == rank
	for i := 0; ordered && i < rank; i++ {
		ordered = sorted[i] == i
	}
	if !ordered {
		return c.fail("the permutation %v of shape %v", perm, x.Dims)
	}
	for i := range rank {
		dims[i], steps[i] = x.Dims[perm[i]], of[perm[i]]
	}
	at := walk(dims, steps, 0)
	return c.make(x.Kind, dims, func(i int) float64 { return x.get(at(i)) })
}

func concat(c *call) []*Tensor {
	first := c.in[0]
	axis := c.axis(c.integer("axis", 0), len(first.Dims))
	if c.run.err != nil {
		return nil
	}
	dims := slices.Clone(first.Dims)
	parts := c.in
	var ends []int
	dims[axis] = 0
	for _, p := range parts {
		if p == nil || len(p.Dims) != len(dims) {
			return c.fail("parts of different ranks")
		}
		for i, d := range p.Dims {
			if i != axis && d != dims[i] {
				return c.fail("a part of shape %v, the first has %v", p.Dims, first.Dims)
			}
		}
		dims[axis] += p.Dims[axis]
		ends = append(ends, dims[axis])
	}
	inner := strides(dims)[axis]
	return c.make(first.Kind, dims, func(i int) float64 {
		outer, at, rest := i/(inner*dims[axis]), i/inner%dims[axis], i%inner
		for k, p := range parts {
			if at < ends[k] {
				at -= ends[k] - p.Dims[axis]
				return p.get((outer*p.Dims[axis]+at)*inner + rest)
			}
		}
		return 0 // no index is beyond the last part
	})
}

// cut is the part of x from an index on one axis.
func (c *call) cut(x *Tensor, axis, from, n int) *Tensor {
	dims := slices.Clone(x.Dims)
	dims[axis] = n
	of := strides(x.Dims)
	at := walk(dims, of, from*of[axis])
	return c.run.tensor(x.Kind, dims, func(i int) float64 { return x.get(at(i)) })
}

func split(c *call) []*Tensor {
	x := c.in[0]
	axis := c.axis(c.integer("axis", 0), len(x.Dims))
	if c.run.err != nil {
		return nil
	}
	sizes := c.list(1)
	if a := c.node.Attribute("split"); a != nil && sizes == nil {
		for _, n := range a.Ints {
			sizes = append(sizes, toInt(float64(n)))
		}
	}
	total, parts := x.Dims[axis], len(c.node.Outputs)
	if sizes == nil {
		if total%parts != 0 {
			return c.fail("%d in %d parts: %w", total, parts, ErrUnknown)
		}
		sizes = slices.Repeat([]int{total / parts}, parts)
	}
	var made []*Tensor
	from := 0
	for _, n := range sizes {
		if n < 0 || n > total-from {
			return c.fail("parts of %v, they are %d together", sizes, total)
		}
		made = append(made, c.cut(x, axis, from, n))
		from += n
	}
	if from != total || len(sizes) != parts {
		return c.fail("parts of %v, they are %d together", sizes, total)
	}
	return made
}

func slice(c *call) []*Tensor {
	x := c.in[0]
	starts, ends, axes, steps := c.list(1), c.list(2), c.axes(3, len(x.Dims)), c.list(4)
	if c.input(3) == nil {
		for i := range starts {
			axes = append(axes, c.axis(i, len(x.Dims)))
		}
	}
	if c.run.err != nil {
		return nil
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
		return c.fail("%d starts, %d ends, %d axes, %d steps", len(starts), len(ends), len(axes), len(steps))
	}
	dims, walks, offset := slices.Clone(x.Dims), strides(x.Dims), 0
	for i, a := range axes {
		step := 1
		if steps != nil {
			step = steps[i]
		}
		n := x.Dims[a]
		clamp := func(v, low, high int) int {
			if v < 0 {
				v += n
			}
			return min(max(v, low), high)
		}
		switch {
		case step == 0 || step < -sizeMax || step > sizeMax:
			return c.fail("a step of %d", step)
		case step > 0:
			from, to := clamp(starts[i], 0, n), clamp(ends[i], 0, n)
			dims[a] = max(0, (to-from+step-1)/step)
			offset += from * walks[a]
		default:
			from, to := clamp(starts[i], 0, n-1), clamp(ends[i], -1, n-1)
			dims[a] = max(0, (from-to-step-1)/-step)
			offset += from * walks[a]
		}
		walks[a] *= step
	}
	at := walk(dims, walks, offset)
	return c.make(x.Kind, dims, func(i int) float64 { return x.get(at(i)) })
}

func tile(c *call) []*Tensor {
	x, times := c.in[0], c.list(1)
	if len(times) != len(x.Dims) {
		return c.fail("%d repeats of shape %v", len(times), x.Dims)
	}
	dims := slices.Clone(x.Dims)
	for i, n := range times {
		if n < 0 || n > sizeMax/max(dims[i], 1) {
			return c.fail("%d repeats of shape %v", n, x.Dims)
		}
		dims[i] *= n
	}
	of, at := strides(x.Dims), make([]int, len(dims))
	return c.make(x.Kind, dims, func(i int) float64 {
		position(dims, i, at)
		k := 0
		for d, p := range at {
			k += p % x.Dims[d] * of[d]
		}
		return x.get(k)
	})
}

// trilu keeps one side of a diagonal.
func trilu(c *call) []*Tensor {
	x, k, upper := c.in[0], 0, c.integer("upper", 1) != 0
	if d := c.list(1); len(d) == 1 {
		k = min(max(d[0], -sizeMax), sizeMax)
	}
	rank := len(x.Dims)
	if rank < 2 {
		return c.fail("a tensor of shape %v", x.Dims)
	}
	rows, columns := x.Dims[rank-2], x.Dims[rank-1]
	return c.make(x.Kind, x.Dims, func(i int) float64 {
		over := i%columns - i/columns%rows - k
		if upper && over >= 0 || !upper && over <= 0 {
			return x.get(i)
		}
		return 0
	})
}
