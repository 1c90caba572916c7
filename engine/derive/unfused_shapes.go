package derive

import (
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// findShapes computes shapes from the weights on, for few tokens, others, and as many as the model may have: how many heads there are,
// whether all tensors are what they look like, and what lies between attentions.
func (p *prover) findShapes() error {
	settings := []setting{{1, 3, 4, 0}, {1, 5, 2, 0}, {1, 2, max(p.spec.ContextMax-2, 0), 0}}
	if p.spec.Batch == 0 {
		settings[0].rows = 2
	}
	between := p.between()
	for i, s := range settings {
		r := p.inputs(s, sparse)
		for _, l := range p.layers {
			if i == 0 {
				if err := p.findHeads(r, l); err != nil {
					return err
				}
			}
			if err := unless(
				p.shapeIs(r, l, l.Query, l.dims(l.QueryShape, l.Heads, s)), p.shapeIs(r, l, l.Key, l.dims(l.KeyShape, l.KVHeads, s)),
				p.shapeIs(r, l, l.Value, l.dims(l.ValueShape, l.KVHeads, s)), p.checkShapes(r, l, s)); err != nil {
				return err
			}
		}
		for _, name := range between {
			t, err := r.Tensor(name)
			if n, known := p.trunk[name]; err != nil || len(t.Dims) != 3 || t.Dims[0] != s.rows || t.Dims[1] != s.length || i > 0 && known && n != t.Dims[2] {
				delete(p.trunk, name)
			} else if i == 0 {
				p.trunk[name] = t.Dims[2]
			}
		}
	}
	return nil
}

// findHeads tells how many heads a query has.
func (p *prover) findHeads(r *oracle.Run, l *layer) error {
	query, err := r.Tensor(l.Query)
	if err != nil {
		return refuse("layer %d: the shape of its query: %v", l.Layer, err)
	}
	switch {
	case l.QueryShape == HeadsFirst && len(query.Dims) == 4:
		l.Heads = query.Dims[1]
	case l.QueryShape == Split && len(query.Dims) == 4:
		l.Heads = query.Dims[2]
	case l.QueryShape == Joined && len(query.Dims) == 3:
		l.Heads = query.Dims[2] / l.HeadDim
	}
	if l.Heads < 1 || l.Heads > 1<<12 || l.Heads%l.KVHeads != 0 || p.spec.Heads > 0 && l.Heads != p.spec.Heads {
		return refuseAt(p.node(l.Query), "layer %d: its shape %v is %d heads of %d over %d; the model's files say %d heads (0: nothing)",
			l.Layer, query.Dims, l.Heads, l.HeadDim, l.KVHeads, p.spec.Heads)
	}
	return nil
}

func (p *prover) shapeIs(r *oracle.Run, l *layer, name string, want []int) error {
	t, err := r.Tensor(name)
	switch {
	case err != nil:
		return refuse("layer %d: the shape of %q: %v", l.Layer, name, err)
	case !slices.Equal(t.Dims, want):
		return refuseAt(p.node(name), "layer %d: its shape is %v, %v was expected", l.Layer, t.Dims, want)
	}
	return nil
}

// checkShapes checks that nothing is cut off at a length.
func (p *prover) checkShapes(r *oracle.Run, l *layer, s setting) error {
	cache := []int{s.rows, l.KVHeads, s.total(), l.HeadDim}
	if p.spec.Combined {
		cache = append([]int{2}, cache...)
	}
	return unless(
		p.shapeIs(r, l, l.scores, []int{s.rows, l.Heads, s.length, s.total()}), p.shapeIs(r, l, l.Output, l.dims(Joined, l.Heads, s)),
		p.shapeIs(r, l, l.PresentKey, cache), p.shapeIs(r, l, l.PresentValue, cache))
}

// size is the number of elements of a shape.
func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// parts are the tensors that make up a layer; all that it is made of lies before them.
func (l *layer) parts() []string {
	list := []string{l.Output, l.PresentKey, l.PresentValue, l.scores, l.turned, l.newKey, l.newValue}
	for _, m := range l.masks {
		list = append(list, m.tensor, m.condition)
	}
	for _, f := range slices.Concat(l.factors, l.capping) {
		list = append(list, f.tensor)
	}
	return list
}

// within lists the tensors that the layers' attentions are computed from, back to queries, keys, values and the graph's inputs;
// shapes lists tensors of which they need the shape.
func (p *prover) within() (list, shapes []string) {
	seen := map[string]bool{"": true}
	var queue []string
	for _, l := range p.layers {
		queue = append(queue, l.parts()...)
		seen[l.Query], seen[l.Key], seen[l.Value] = true, true, true
	}
	for len(queue) > 0 {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		list = append(list, name)
		n := p.node(name)
		if n == nil {
			continue
		}
		for _, in := range reads(n) {
			if (n.Op == "Shape" || n.Op == "Size") && p.isData(in) {
				shapes = append(shapes, in)
			} else {
				queue = append(queue, in)
			}
		}
	}
	return list, shapes
}

// between lists tensors outside of attentions whose shapes they need.
func (p *prover) between() []string {
	inside, shapes := p.within()
	known := map[string]bool{}
	for _, name := range inside {
		known[name] = true
	}
	for _, l := range p.layers {
		known[l.Query], known[l.Key], known[l.Value] = true, true, true
	}
	return slices.DeleteFunc(shapes, func(name string) bool { return known[name] || p.node(name) == nil })
}
