package derive

import (
	"math"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// findNumbers computes scales, soft caps and rotations.
func (p *prover) findNumbers() error {
	s := setting{1, 1, 1, 0}
	if p.spec.Batch == 0 {
		s.rows = 2
	}
	r := p.run(s, whole)
	far := setting{1, min(farthest+1, p.spec.ContextMax), 0, 0}
	distant := p.run(far, sparse)
	for _, l := range p.layers {
		scale, err := p.product(r, l, l.factors)
		if err != nil {
			return err
		}
		l.scale = scale
		if l.capped {
			if l.softcap, err = p.product(r, l, l.capping); err != nil {
				return err
			}
			l.scale *= l.softcap // c*tanh(x/c) of scores x
		}
		if !(l.scale > 0) || math.IsInf(l.scale, 0) || l.capped && !(l.softcap > 0) || math.IsInf(l.softcap, 0) {
			return refuse("layer %d: scores are multiplied with %v, with a soft cap of %v", l.Layer, l.scale, l.softcap)
		}
		l.Scale, l.Softcap = float32(l.scale), float32(l.softcap)
		if err := unless(p.findRotation(r, l, s), p.refine(distant, l, far)); err != nil {
			return err
		}
	}
	return nil
}

// product multiplies factors, each of which must be one number.
func (p *prover) product(r *oracle.Run, l *layer, factors []factor) (float64, error) {
	product := 1.0
	for _, f := range factors {
		t, err := r.Tensor(f.tensor)
		if err != nil {
			return 0, refuse("layer %d: a scale: %v", l.Layer, err)
		}
		v, err := r.Values(t)
		switch {
		case err != nil:
			return 0, refuse("layer %d: a scale: %v", l.Layer, err)
		case len(v) != 1:
			return 0, refuseAt(p.node(f.tensor), "layer %d: scores are scaled by a tensor of shape %v, a single number was expected", l.Layer, t.Dims)
		case f.divide:
			product /= v[0]
		default:
			product *= v[0]
		}
	}
	return product, nil
}

// findRotation looks at what position 1 does to keys.
func (p *prover) findRotation(r *oracle.Run, l *layer, s setting) error {
	l.RotaryScale, l.rotaryScale = 1, 1
	t, err := r.Tensor(l.newKey)
	if err != nil {
		return refuse("layer %d: %v", l.Layer, err)
	}
	if want := []int{s.rows, l.KVHeads, 1, l.HeadDim}; !slices.Equal(t.Dims, want) {
		return refuseAt(p.node(l.newKey), "layer %d: its shape is %v, %v was expected", l.Layer, t.Dims, want)
	}
	after, err := r.Values(t)
	if err != nil {
		return refuse("layer %d: %v", l.Layer, err)
	}
	before := make([]float64, len(after)) // heads of single tokens lie one after the other in every shape
	for i, key := 0, noise(l.Key); i < len(before); i++ {
		before[i] = key(i)
		if after[i] != before[i] {
			l.RotaryDim = max(l.RotaryDim, i%l.HeadDim+1)
		}
	}
	if l.RotaryDim == 0 {
		return nil
	}
	for _, l.Interleaved = range []bool{false, true} {
		if l.RotaryDim%2 == 0 && l.fit(before, after) {
			return nil
		}
	}
	l.frequencies = nil
	return refuseAt(p.node(l.newKey), "layer %d: what positions do to the first %d elements of a key is no rotation that is known", l.Layer, l.RotaryDim)
}

// fit finds the angle by which each pair turned between two lists of heads; false if they did not all turn in this way.
func (l *layer) fit(before, after []float64) bool {
	const exact = 1e-7 // what tables of float32 still keep
	l.frequencies = nil
	for j := range l.RotaryDim / 2 {
		a, b := l.pair(j)
		var cos, sin float64
		for from := 0; from < len(before); from += l.HeadDim {
			x, y, u, v := before[from+a], before[from+b], after[from+a], after[from+b]
			if from == 0 {
				norm := x*x + y*y
				cos, sin = (x*u+y*v)/norm, (x*v-y*u)/norm
			}
			if !(math.Abs(x*cos-y*sin-u) < exact) || !(math.Abs(y*cos+x*sin-v) < exact) {
				return false
			}
		}
		scale := math.Hypot(cos, sin)
		if j == 0 {
			l.rotaryScale = scale
		}
		if !(math.Abs(scale-l.rotaryScale) < exact) || sin < 0 {
			return false
		}
		l.frequencies = append(l.frequencies, math.Atan2(sin, cos))
	}
	return true
}

// farthest is the position up to which angles are followed.
const farthest = 1024

// refine follows angles from position to position, each twice the last: tables of cosines tell small angles badly.
func (p *prover) refine(r *oracle.Run, l *layer, s setting) error {
	t, err := r.Tensor(l.newKey)
	if err != nil {
		return refuse("layer %d: %v", l.Layer, err)
	}
	if want := []int{1, l.KVHeads, s.length, l.HeadDim}; !slices.Equal(t.Dims, want) {
		return refuseAt(p.node(l.newKey), "layer %d: its shape is %v, %v was expected", l.Layer, t.Dims, want)
	}
	key := noise(l.Key)
	for at := 2; at < s.length; at *= 2 {
		for j, f := range l.frequencies {
			var before, after [2]float64
			a, b := l.pair(j)
			for i, d := range []int{a, b} {
				before[i] = key(l.place(l.KeyShape, l.KVHeads, s, 0, at, 0, d))
				if after[i], err = r.At(t, at*l.HeadDim+d); err != nil {
					return refuse("layer %d: %v", l.Layer, err)
				}
			}
			x, y, u, v := before[0], before[1], after[0], after[1]
			angle := math.Atan2(x*v-y*u, x*u+y*v)
			turns := math.Round((f*float64(at) - angle) / (2 * math.Pi))
			l.frequencies[j] = (angle + 2*math.Pi*turns) / float64(at)
		}
	}
	l.RotaryScale = float32(l.rotaryScale)
	l.InverseFrequencies = make([]float32, len(l.frequencies))
	for j, f := range l.frequencies {
		l.InverseFrequencies[j] = float32(f)
	}
	return nil
}

// rounding is how far an angle may be off for each position that it grew over: tables hold cosines of angles in float32.
const rounding = 1.2e-7

// checkTurns compares rotated queries and keys at a long length.
func (p *prover) checkTurns(r *oracle.Run, l *layer, s setting) error {
	places := []int{0, s.length / 2, s.length - 1}
	for _, side := range []struct {
		name  string
		shape HeadShape
		heads int
		given func(i int) float64
		into  string
	}{
		{l.Query, l.QueryShape, l.Heads, loud(l.Query), l.turned}, {l.Key, l.KeyShape, l.KVHeads, noise(l.Key), l.newKey},
	} {
		t, err := r.Tensor(side.into)
		if err != nil {
			return refuse("layer %d: %v", l.Layer, err)
		}
		if want := []int{s.rows, side.heads, s.length, l.HeadDim}; !slices.Equal(t.Dims, want) {
			return refuseAt(p.node(side.into), "layer %d: its shape is %v, %v was expected", l.Layer, t.Dims, want)
		}
		x := make([]float64, l.HeadDim)
		for _, at := range places {
			head := at % side.heads
			for i := range x {
				x[i] = side.given(l.place(side.shape, side.heads, s, 0, at, head, i))
			}
			l.turn(x, s.past+at)
			for i, want := range x {
				got, err := r.At(t, (head*s.length+at)*l.HeadDim+i)
				if err != nil {
					return refuse("layer %d: %v", l.Layer, err)
				}
				if !(math.Abs(got-want) <= tolerance*4+rounding*float64(s.past+at)*l.rotaryScale*4) {
					return refuseAt(p.node(side.into), "layer %d: at position %d of %d, element %d is turned to %.9g, not to %.9g: the rotation changes with the length",
						l.Layer, s.past+at, s.total(), i, got, want)
				}
			}
		}
	}
	return nil
}
