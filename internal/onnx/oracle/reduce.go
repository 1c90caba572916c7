package oracle

import (
	"math"
	"slices"
)

func matMul(c *call) []*Tensor {
	x, y := c.in[0], c.in[1]
	if len(x.Dims) < 2 || len(y.Dims) < 2 {
		return c.fail("shapes %v and %v: %w", x.Dims, y.Dims, ErrUnknown)
	}
	tail := func(t *Tensor) (outer []int, rows, columns int) {
		n := len(t.Dims)
		return t.Dims[:n-2], t.Dims[n-2], t.Dims[n-1]
	}
	outerX, m, k := tail(x)
	outerY, k2, n := tail(y)
	outer := c.broadcast(outerX, outerY)
	if c.run.err != nil || k != k2 {
		return c.fail("the shapes %v and %v do not fit each other", x.Dims, y.Dims)
	}
	dims := slices.Concat(outer, []int{m, n})
	atX, atY := spread(outerX, outer), spread(outerY, outer)
	return c.make(Float, dims, func(i int) float64 {
		o, row, column := i/n/m, i/n%m, i%n
		px, py := (atX(o)*m+row)*k, atY(o)*k*n+column
		sum := 0.0
		if !c.run.spend(k) {
			return 0
		}
		for j := range k {
			sum += x.get(px+j) * y.get(py+j*n)
		}
		return sum
	})
}

// gemm knows its shape alone.
func gemm(c *call) []*Tensor {
	x, y := c.in[0], c.in[1]
	if len(x.Dims) != 2 || len(y.Dims) != 2 {
		return c.fail("shapes %v and %v", x.Dims, y.Dims)
	}
	m, n := x.Dims[0], y.Dims[1]
	if c.integer("transA", 0) != 0 {
		m = x.Dims[1]
	}
	if c.integer("transB", 0) != 0 {
		n = y.Dims[0]
	}
	return c.only([]int{m, n})
}

func softmax(c *call) []*Tensor {
	x := c.in[0]
	axis := c.axis(c.integer("axis", -1), max(len(x.Dims), 1))
	if c.run.graph.opset < 13 || axis != len(x.Dims)-1 || len(x.Dims) == 0 {
		return c.fail("along axis %d in operator set %d: %w", axis, c.run.graph.opset, ErrUnknown)
	}
	n := x.Dims[axis]
	return c.make(Float, x.Dims, func(i int) float64 {
		if !c.run.spend(n) {
			return 0
		}
		from := i / n * n
		top, sum := math.Inf(-1), 0.0
		for j := range n {
			top = max(top, x.get(from+j))
		}
		for j := range n {
			sum += math.Exp(x.get(from+j) - top)
		}
		return math.Exp(x.get(i)-top) / sum
	})
}

func cumSum(c *call) []*Tensor {
	x := c.in[0]
	axes := c.list(1)
	if len(axes) != 1 || c.integer("reverse", 0) != 0 {
		return c.fail("along %v: %w", axes, ErrUnknown)
	}
	axis := c.axis(axes[0], len(x.Dims))
	if c.run.err != nil {
		return nil
	}
	n, inner, before := x.Dims[axis], strides(x.Dims)[axis], 1-c.integer("exclusive", 0)
	return c.make(x.Kind, x.Dims, func(i int) float64 {
		last := i / inner % n
		first := i - last*inner
		if !c.run.spend(last) {
			return 0
		}
		sum := 0.0
		for j := range last + before {
			sum += x.get(first + j*inner)
		}
		return sum
	})
}

// reduce folds axes, all of them if none are given; mean divides by their number.
func reduce(start float64, f func(sum, x float64) float64, mean bool) operator {
	return operator{1, func(c *call) []*Tensor {
		x := c.in[0]
		axes := c.axes(1, len(x.Dims))
		if len(axes) == 0 {
			if c.integer("noop_with_empty_axes", 0) != 0 {
				return c.in[:1]
			}
			for i := range x.Dims {
				axes = append(axes, i)
			}
		}
		if c.run.err != nil {
			return nil
		}
		var dims, kept, steps, over, overSteps []int
		count := 1
		for i, s := range strides(x.Dims) {
			if slices.Contains(axes, i) {
				over, overSteps = append(over, x.Dims[i]), append(overSteps, s)
				count *= x.Dims[i]
				if c.integer("keepdims", 1) != 0 {
					dims = append(dims, 1)
				}
				continue
			}
			dims = append(dims, x.Dims[i])
			kept, steps = append(kept, x.Dims[i]), append(steps, s)
		}
		from, at := walk(kept, steps, 0), walk(over, overSteps, 0)
		return c.make(x.Kind, dims, func(i int) float64 {
			first, sum := from(i), start
			if !c.run.spend(count) {
				return 0
			}
			for j := range count {
				sum = f(sum, x.get(first+at(j)))
			}
			if mean {
				sum /= float64(count)
			}
			return sum
		})
	}}
}
