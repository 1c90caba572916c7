package derive

import (
	"math"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// tolerance is how far the graph's numbers, in float64, may be from the operator's: wide enough for constants that were rounded to
// float32 once, narrow enough that no scale of another kind passes.
const tolerance = 1e-5

// How many elements a tensor may have to be computed as a whole: where everything is compared, and where few elements are.
const (
	whole  = 1 << 18
	sparse = 1 << 8
)

// prover computes both sides.
type prover struct {
	*finder
	oracle *oracle.Graph
	read   oracle.Read
	layers []*layer       // at first all; then those that are like no other before them
	trunk  map[string]int // tensors (batch, length, size) between attentions, of which only the shape is needed
	masks  map[string]int // windows that are known, by masks
	sizes  []int          // lengths that constants of the graph could be about, and the model's longest
}

// setting is one run: rows of length tokens after past ones. In the last row, the first padded places are masked.
type setting struct{ rows, length, past, padded int }

func (s setting) total() int { return s.past + s.length }

// small settings are computed as a whole: a prompt, one that follows another, single tokens, rows of different lengths.
func (p *prover) small() []setting {
	list := []setting{{1, 3, 4, 0}, {1, 1, 6, 0}, {1, 5, 0, 0}}
	if p.spec.Batch == 0 {
		list = append(list, setting{2, 2, 3, 0}, setting{2, 3, 2, 2})
	}
	most := p.spec.ContextMax
	return slices.DeleteFunc(list, func(s setting) bool { return s.total() > most || s.padded > 0 && p.spec.Mask == "" })
}

// large settings have lengths at which something could change: one past each constant of the graph, and the longest.
func (p *prover) large() []setting {
	var list []setting
	for _, n := range p.sizes {
		list = append(list, setting{1, n, 0, 0}, setting{1, 1, n - 1, 0})
		if n > 2 {
			list = append(list, setting{1, 2, n - 2, 0})
		}
	}
	return list
}

// prove checks all layers, and fills in what only numbers tell. Of layers that are the same graph, one is computed.
func (p *prover) prove() error {
	if err := p.findShapes(); err != nil {
		return err
	}
	all, class := p.layers, p.classes()
	p.layers = nil
	for i, l := range all {
		if class[i] == l {
			p.layers = append(p.layers, l)
		}
	}
	if err := unless(p.findSizes(), p.findNumbers()); err != nil {
		return err
	}
	for _, l := range p.layers {
		if err := p.findWindow(l); err != nil {
			return err
		}
	}
	for _, s := range p.small() {
		r := p.run(s, whole)
		for _, l := range p.layers {
			if err := unless(p.checkMask(r, l, s), p.checkLayer(r, l, s)); err != nil {
				return err
			}
			r.Forget()
		}
	}
	for _, s := range p.large() {
		r := p.run(s, sparse)
		for _, l := range p.layers {
			if err := unless(p.checkShapes(r, l, s), p.checkMask(r, l, s), p.checkTurns(r, l, s)); err != nil {
				return err
			}
		}
	}
	for i, l := range all {
		l.like(class[i])
	}
	return nil
}

// like takes over what was found of a layer that is the same.
func (l *layer) like(other *layer) {
	l.RotaryDim, l.Interleaved, l.InverseFrequencies, l.RotaryScale = other.RotaryDim, other.Interleaved, other.InverseFrequencies, other.RotaryScale
	l.Scale, l.Softcap, l.Window = other.Scale, other.Softcap, other.Window
}

// run feeds a setting for attention alone: the graph's inputs, every layer's query, key and value, and shapes of what lies between.
func (p *prover) run(s setting, dense int) *oracle.Run {
	r := p.inputs(s, dense)
	for name, n := range p.trunk {
		r.Feed(name, oracle.Float, []int{s.rows, s.length, n}, func(int) float64 { return math.NaN() })
	}
	for _, l := range p.layers {
		r.Feed(l.Query, oracle.Float, l.dims(l.QueryShape, l.Heads, s), loud(l.Query))
		r.Feed(l.Key, oracle.Float, l.dims(l.KeyShape, l.KVHeads, s), noise(l.Key))
		r.Feed(l.Value, oracle.Float, l.dims(l.ValueShape, l.KVHeads, s), noise(l.Value))
	}
	return r
}

// inputs feeds the graph's inputs.
func (p *prover) inputs(s setting, dense int) *oracle.Run {
	r := p.oracle.Run(dense)
	spec := p.spec
	r.Feed(spec.InputIDs, oracle.Int, []int{s.rows, s.length}, func(int) float64 { return 0 })
	if spec.Mask != "" {
		r.Feed(spec.Mask, oracle.Int, []int{s.rows, s.total()}, func(i int) float64 {
			return flag(!s.hides(i/s.total(), i%s.total()))
		})
	}
	if spec.Positions != "" {
		r.Feed(spec.Positions, oracle.Int, []int{s.rows, s.length}, func(i int) float64 { return float64(s.past + i%s.length) })
	}
	if spec.NumLogits != "" {
		dims := make([]int, len(spec.NumLogitsShape))
		for i := range dims {
			dims[i] = 1
		}
		r.Feed(spec.NumLogits, oracle.Int, dims, func(int) float64 { return 1 })
	}
	if spec.UseCacheBranch != "" {
		r.Feed(spec.UseCacheBranch, oracle.Bool, []int{1}, func(int) float64 { return flag(s.past > 0) })
	}
	for _, past := range spec.Past {
		dims := []int{s.rows, spec.KVHeads, s.past, spec.HeadDim}
		if spec.Combined {
			dims = append([]int{2}, dims...)
		}
		r.Feed(past.Key, oracle.Float, dims, noise(past.Key))
		r.Feed(past.Value, oracle.Float, dims, noise(past.Value))
	}
	return r
}

// hides says whether a place is padding.
func (s setting) hides(row, place int) bool { return row == s.rows-1 && place < s.padded }

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// noise gives every element of a tensor a number from -1 to 1 of its own.
func noise(name string) func(i int) float64 {
	seed := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		seed = (seed ^ uint64(c)) * 1099511628211
	}
	return func(i int) float64 {
		x := seed + uint64(i)*0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return float64(int64(x^x>>31)) / (1 << 63)
	}
}

// loud is noise that makes scores differ enough for the softmax to show it.
func loud(name string) func(i int) float64 {
	n := noise(name)
	return func(i int) float64 { return 4 * n(i) }
}

// dims is the shape of a query, key or value of this many heads.
func (l *layer) dims(shape HeadShape, heads int, s setting) []int {
	switch shape {
	case Split:
		return []int{s.rows, s.length, heads, l.HeadDim}
	case HeadsFirst:
		return []int{s.rows, heads, s.length, l.HeadDim}
	}
	return []int{s.rows, s.length, heads * l.HeadDim}
}

// place is the index of an element in it.
func (l *layer) place(shape HeadShape, heads int, s setting, row, at, head, i int) int {
	if shape == HeadsFirst {
		return ((row*heads+head)*s.length+at)*l.HeadDim + i
	}
	return ((row*s.length+at)*heads+head)*l.HeadDim + i
}

// findSizes collects the lengths at which a graph could do something else: one past each small constant that attentions are computed
// from, whatever it is about, and the longest that the model has.
func (p *prover) findSizes() error {
	r := p.run(setting{1, 1, 1, 0}, whole)
	sizes := map[int]bool{p.spec.ContextMax: true}
	inside, _ := p.within()
	for _, name := range inside {
		n := p.node(name)
		if n == nil && p.constants[name] == nil || n != nil && n.Op != "Constant" {
			continue
		}
		t, err := r.Tensor(name)
		if err != nil {
			return refuse("a constant: %v", err)
		}
		if size(t.Dims) > 64 { // tables, frequencies
			continue
		}
		values, err := r.Values(t)
		if err != nil {
			return refuse("a constant: %v", err)
		}
		for _, x := range values {
			if x = math.Abs(x); x >= 2 && x < float64(p.spec.ContextMax) {
				sizes[int(x)+1] = true
			}
		}
	}
	for n := range sizes {
		p.sizes = append(p.sizes, n)
	}
	slices.Sort(p.sizes)
	if len(p.sizes) > 64 {
		return refuse("the graph has constants of %d kinds that could be about lengths", len(p.sizes))
	}
	return nil
}

// checkLayer computes the attention on both sides.
func (p *prover) checkLayer(r *oracle.Run, l *layer, s setting) error {
	keys, values, out := l.operator(s)
	if p.spec.Combined {
		if err := p.same(r, l, l.PresentKey, slices.Concat(keys, values)); err != nil {
			return err
		}
	} else if err := unless(p.same(r, l, l.PresentKey, keys), p.same(r, l, l.PresentValue, values)); err != nil {
		return err
	}
	return p.same(r, l, l.Output, out)
}

// same compares a tensor of the graph.
func (p *prover) same(r *oracle.Run, l *layer, name string, want []float64) error {
	t, err := r.Tensor(name)
	if err != nil {
		return refuse("layer %d: %v", l.Layer, err)
	}
	got, err := r.Values(t)
	if err != nil {
		return refuse("layer %d: %v", l.Layer, err)
	}
	if len(got) != len(want) {
		return refuseAt(p.node(name), "layer %d: %d elements of shape %v, %d were expected", l.Layer, len(got), t.Dims, len(want))
	}
	for i, w := range want {
		if !(math.Abs(got[i]-w) <= tolerance*max(1, math.Abs(w))) {
			return refuseAt(p.node(name), "layer %d: element %d is %.9g, and %.9g if it is what it looks like (%s)", l.Layer, i, got[i], w, l.Unfused)
		}
	}
	return nil
}
