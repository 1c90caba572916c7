package oracle

import "slices"

// only is an output whose shape is known and whose elements are not computed: what a model's layers do between attentions is
// of interest here for its shape.
func (c *call) only(dims []int) []*Tensor {
	return c.make(Float, dims, func(int) float64 {
		c.fail("its elements: %w", ErrUnknown)
		return 0
	})
}

// likeFirst is for nodes whose first output, and the fourth where there is one (a sum that was normalised), have the first input's
// shape.
func likeFirst(c *call) []*Tensor {
	made := make([]*Tensor, len(c.node.Outputs))
	for i := range made {
		if i == 0 || i == 3 {
			made[i] = c.only(c.in[0].Dims)[0]
		}
	}
	return made
}

func matMulNBits(c *call) []*Tensor {
	dims := slices.Clone(c.in[0].Dims)
	n := c.integer("N", 0)
	if len(dims) == 0 || n <= 0 || dims[len(dims)-1] != c.integer("K", 0) {
		return c.fail("an input of shape %v", dims)
	}
	dims[len(dims)-1] = n
	return c.only(dims)
}

// gatherBlocks is an embedding in blocks of few bits; its rows have as many elements as there are scales and blocks.
func gatherBlocks(c *call) []*Tensor {
	indices, scales := c.in[1], c.in[2]
	if len(scales.Dims) != 2 || c.integer("gather_axis", 0) != 0 || c.integer("quantize_axis", 1) != 1 {
		return c.fail("scales of shape %v", scales.Dims)
	}
	block := c.integer("block_size", 128)
	if block <= 0 || block > 1<<20 {
		return c.fail("blocks of %d", block)
	}
	return c.only(append(slices.Clone(indices.Dims), scales.Dims[1]*block))
}
