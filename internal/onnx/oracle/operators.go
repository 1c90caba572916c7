package oracle

import (
	"math"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// operators are those that are computed, by domain and name.
var operators = map[string]operator{
	":Identity":   {1, func(c *call) []*Tensor { return c.in[:1] }},
	":Cast":       {1, cast},
	":Neg":        each(func(x float64) float64 { return -x }),
	":Abs":        each(math.Abs),
	":Sqrt":       each(math.Sqrt),
	":Reciprocal": each(func(x float64) float64 { return 1 / x }),
	":Exp":        each(math.Exp),
	":Log":        each(math.Log),
	":Cos":        each(math.Cos),
	":Sin":        each(math.Sin),
	":Tanh":       each(math.Tanh),
	":Erf":        each(math.Erf),
	":Floor":      each(math.Floor),
	":Ceil":       each(math.Ceil),
	":Relu":       each(func(x float64) float64 { return max(x, 0) }),
	":Sigmoid":    each(func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }),
	":Not":        isEach(func(x float64) bool { return x == 0 }),
	":IsNaN":      isEach(math.IsNaN),

	":Add": both(func(x, y float64) float64 { return x + y }),
	":Sub": both(func(x, y float64) float64 { return x - y }),
	":Mul": both(func(x, y float64) float64 { return x * y }),
	":Pow": both(math.Pow),
	":Div": {2, divide},
	":Mod": {2, modulo},
	":Min": {1, func(c *call) []*Tensor { return c.fold(func(x, y float64) float64 { return min(x, y) }) }},
	":Max": {1, func(c *call) []*Tensor { return c.fold(func(x, y float64) float64 { return max(x, y) }) }},

	":Equal":          isBoth(func(x, y float64) bool { return x == y }),
	":Less":           isBoth(func(x, y float64) bool { return x < y }),
	":LessOrEqual":    isBoth(func(x, y float64) bool { return x <= y }),
	":Greater":        isBoth(func(x, y float64) bool { return x > y }),
	":GreaterOrEqual": isBoth(func(x, y float64) bool { return x >= y }),
	":And":            isBoth(func(x, y float64) bool { return x != 0 && y != 0 }),
	":Or":             isBoth(func(x, y float64) bool { return x != 0 || y != 0 }),
	":Xor":            isBoth(func(x, y float64) bool { return (x != 0) != (y != 0) }),
	":Where":          {3, where},

	":Shape":           {1, shape},
	":Size":            {1, func(c *call) []*Tensor { return c.make(Int, nil, func(int) float64 { return float64(c.in[0].size) }) }},
	":Constant":        {0, constantNode},
	":ConstantOfShape": {1, constantOfShape},
	":Range":           {3, rangeOf},

	":Reshape":   {2, reshape},
	":Flatten":   {1, flatten},
	":Unsqueeze": {1, unsqueeze},
	":Squeeze":   {1, squeeze},
	":Expand":    {2, expand},
	":Transpose": {1, transpose},
	":Concat":    {1, concat},
	":Split":     {1, split},
	":Slice":     {3, slice},
	":Tile":      {2, tile},
	":Trilu":     {1, trilu},
	":Gather":    {2, gather},
	":GatherND":  {2, gatherND},
	":ScatterND": {3, scatterND},
	":NonZero":   {1, nonZero},

	":MatMul":     {2, matMul},
	":Gemm":       {2, gemm},
	":Softmax":    {1, softmax},
	":CumSum":     {2, cumSum},
	":ReduceSum":  reduce(0, func(sum, x float64) float64 { return sum + x }, false),
	":ReduceMean": reduce(0, func(sum, x float64) float64 { return sum + x }, true),
	":ReduceMax":  reduce(math.Inf(-1), func(m, x float64) float64 { return max(m, x) }, false),
	":ReduceMin":  reduce(math.Inf(1), func(m, x float64) float64 { return min(m, x) }, false),

	":LayerNormalization":                            {1, likeFirst},
	":RMSNormalization":                              {1, likeFirst},
	":SimplifiedLayerNormalization":                  {1, likeFirst},
	"com.microsoft:SimplifiedLayerNormalization":     {1, likeFirst},
	":SkipSimplifiedLayerNormalization":              {1, likeFirst},
	"com.microsoft:SkipSimplifiedLayerNormalization": {1, likeFirst},
	"com.microsoft:SkipLayerNormalization":           {1, likeFirst},
	":Gelu":                                          {1, likeFirst},
	"com.microsoft:Gelu":                             {1, likeFirst},
	"com.microsoft:FastGelu":                         {1, likeFirst},
	"com.microsoft:QuickGelu":                        {1, likeFirst},
	"com.microsoft:MatMulNBits":                      {2, matMulNBits},
	"com.microsoft:GatherBlockQuantized":             {3, gatherBlocks},
}

func each(f func(x float64) float64) operator {
	return operator{1, func(c *call) []*Tensor {
		x := c.in[0]
		return c.make(x.Kind, x.Dims, func(i int) float64 { return f(x.get(i)) })
	}}
}

func isEach(f func(x float64) bool) operator {
	return operator{1, func(c *call) []*Tensor {
		x := c.in[0]
		return c.make(Bool, x.Dims, func(i int) float64 { return truth(f(x.get(i))) })
	}}
}

func both(f func(x, y float64) float64) operator {
	return operator{2, func(c *call) []*Tensor { return c.pair(c.in[0].Kind, f) }}
}

func isBoth(f func(x, y float64) bool) operator {
	return operator{2, func(c *call) []*Tensor {
		return c.pair(Bool, func(x, y float64) float64 { return truth(f(x, y)) })
	}}
}

// pair applies f to the first two inputs, one repeated along the other.
func (c *call) pair(kind Kind, f func(x, y float64) float64) []*Tensor {
	x, y := c.in[0], c.in[1]
	dims := c.broadcast(x.Dims, y.Dims)
	if c.run.err != nil {
		return nil
	}
	atX, atY := spread(x.Dims, dims), spread(y.Dims, dims)
	return c.make(kind, dims, func(i int) float64 { return f(x.get(atX(i)), y.get(atY(i))) })
}

// fold applies f to any number of inputs.
func (c *call) fold(f func(x, y float64) float64) []*Tensor {
	all := c.in
	made := c.in[:1]
	for _, next := range all[1:] {
		if next == nil {
			return c.fail("an absent input")
		}
		c.in = []*Tensor{made[0], next}
		if made = c.pair(made[0].Kind, f); made == nil {
			return nil
		}
	}
	return made
}

func divide(c *call) []*Tensor {
	if c.in[0].Kind == Float {
		return c.pair(Float, func(x, y float64) float64 { return x / y })
	}
	return c.pair(c.in[0].Kind, func(x, y float64) float64 {
		if y == 0 {
			c.fail("division by 0")
			return 0
		}
		return math.Trunc(x / y)
	})
}

func modulo(c *call) []*Tensor {
	isC := c.integer("fmod", 0) == 1
	return c.pair(c.in[0].Kind, func(x, y float64) float64 {
		if y == 0 && c.in[0].Kind != Float {
			c.fail("division by 0")
			return 0
		}
		m := math.Mod(x, y)
		if !isC && m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return m
	})
}

func cast(c *call) []*Tensor {
	x := c.in[0]
	target := onnx.DataType(min(max(c.integer("to", 0), 0), 100))
	to := kindOf(target)
	switch {
	case to == Int && target != onnx.Int64 && target != onnx.Int32 && (x.Kind != Bool || target != onnx.Uint8 && target != onnx.Int8):
		return c.fail("to %v: %w", target, ErrUnknown) // narrow integers would wrap
	case to == x.Kind || to == Float || x.Kind == Bool:
		return c.make(to, x.Dims, x.get)
	case to == Bool:
		return c.make(to, x.Dims, func(i int) float64 { return truth(x.get(i) != 0) })
	}
	return c.make(to, x.Dims, func(i int) float64 { return math.Trunc(x.get(i)) })
}

func where(c *call) []*Tensor {
	is, x, y := c.in[0], c.in[1], c.in[2]
	dims := c.broadcast(is.Dims, x.Dims, y.Dims)
	if c.run.err != nil {
		return nil
	}
	atIs, atX, atY := spread(is.Dims, dims), spread(x.Dims, dims), spread(y.Dims, dims)
	return c.make(x.Kind, dims, func(i int) float64 {
		if is.get(atIs(i)) != 0 {
			return x.get(atX(i))
		}
		return y.get(atY(i))
	})
}

func shape(c *call) []*Tensor {
	dims := c.in[0].Dims
	bound := func(name string, absent int) int {
		v := c.integer(name, absent)
		if v < 0 {
			v += len(dims)
		}
		return min(max(v, 0), len(dims))
	}
	start, end := bound("start", 0), bound("end", len(dims))
	if a := c.node.Attribute("end"); a == nil {
		end = len(dims)
	}
	part := dims[start:max(start, end)]
	return c.make(Int, []int{len(part)}, func(i int) float64 { return float64(part[i]) })
}

func constantNode(c *call) []*Tensor {
	for _, a := range c.node.Attributes {
		switch {
		case a.Name == "value" && a.Tensor != nil:
			if t := c.run.constant(a.Tensor); t != nil {
				return []*Tensor{t}
			}
			return nil
		case a.Name == "value_int":
			return c.make(Int, nil, func(int) float64 { return float64(a.Int) })
		case a.Name == "value_float":
			return c.make(Float, nil, func(int) float64 { return float64(a.Float) })
		case a.Name == "value_ints":
			return c.make(Int, []int{len(a.Ints)}, func(i int) float64 { return float64(a.Ints[i]) })
		}
	}
	return c.fail("its value: %w", ErrUnknown)
}

func constantOfShape(c *call) []*Tensor {
	dims := c.list(0)
	a := c.node.Attribute("value")
	if a == nil || a.Tensor == nil {
		return c.make(Float, dims, func(int) float64 { return 0 })
	}
	v := c.run.constant(a.Tensor)
	if v == nil || v.size != 1 {
		return c.fail("its value is not one element")
	}
	return c.make(v.Kind, dims, func(int) float64 { return v.get(0) })
}

func rangeOf(c *call) []*Tensor {
	for _, t := range c.in[:3] {
		if t.size != 1 {
			return c.fail("limits of shape %v", t.Dims)
		}
	}
	from, to, step := c.in[0].get(0), c.in[1].get(0), c.in[2].get(0)
	n := math.Ceil((to - from) / step)
	if c.run.err != nil || n != n || n > sizeMax {
		return c.fail("from %v to %v by %v", from, to, step)
	}
	return c.make(c.in[0].Kind, []int{int(max(n, 0))}, func(i int) float64 { return from + float64(i)*step })
}
