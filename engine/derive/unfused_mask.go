package derive

import (
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx/oracle"
)

// hidden is what a mask must add to a score at least, so that nothing of the key is left in float32.
const hidden = -1e4

// view reads one mask: its tensors repeated to (rows, heads, length, total).
type view struct {
	mask
	what, is *oracle.Tensor
}

func (p *prover) views(r *oracle.Run, l *layer, s setting) ([]view, error) {
	var list []view
	for _, m := range l.masks {
		what, err := p.maskTensor(r, l, m.tensor, s)
		if err != nil {
			return nil, err
		}
		is := (*oracle.Tensor)(nil)
		if m.condition != "" {
			if is, err = p.maskTensor(r, l, m.condition, s); err != nil {
				return nil, err
			}
		}
		list = append(list, view{m, what, is})
	}
	return list, nil
}

func (p *prover) maskTensor(r *oracle.Run, l *layer, name string, s setting) (*oracle.Tensor, error) {
	t, err := r.Tensor(name)
	if err != nil {
		return nil, refuse("layer %d: the mask: %v", l.Layer, err)
	}
	full := []int{s.rows, 1, s.length, s.total()} // one for each head would be something else
	fits := len(t.Dims) <= 4
	for i := range t.Dims {
		d := len(t.Dims) - 1 - i
		fits = fits && (t.Dims[d] == 1 || t.Dims[d] == full[3-i])
	}
	if !fits {
		return nil, refuseAt(p.node(name), "layer %d: a mask of shape %v, one that fits %v was expected", l.Layer, t.Dims, full)
	}
	return t, nil
}

// element reads a tensor for a row, a new token and a place in the cache.
func element(r *oracle.Run, t *oracle.Tensor, row, q, k int) (float64, error) {
	full, at, i := []int{row, 0, q, k}, 0, 4-len(t.Dims)
	for _, d := range t.Dims {
		at *= d
		if d > 1 {
			at += full[i]
		}
		i++
	}
	return r.At(t, at)
}

// sees says whether all masks leave a key visible.
func sees(r *oracle.Run, views []view, row, q, k int) (bool, error) {
	for _, v := range views {
		if v.is != nil {
			is, err := element(r, v.is, row, q, k)
			if err != nil {
				return false, err
			}
			if (is == 0) != v.whenFalse {
				continue
			}
		}
		x, err := element(r, v.what, row, q, k)
		switch {
		case err != nil:
			return false, err
		case x <= hidden:
			return false, nil
		case x != 0 || v.is != nil:
			return false, fmt.Errorf("%q is %.6g between new token %d and key %d, 0 or below %g was expected", v.tensor, x, q, k, hidden)
		}
	}
	return true, nil
}

// findWindow finds how far back the masks let the last token look at the longest length.
func (p *prover) findWindow(l *layer) error {
	key := fmt.Sprint(l.masks)
	if w, known := p.masks[key]; known {
		l.Window = w
		return nil
	}
	s := setting{1, 1, p.spec.ContextMax - 1, 0}
	r := p.run(s, sparse)
	views, err := p.views(r, l, s)
	if err != nil {
		return err
	}
	low, high := 0, s.total() // the first key that is seen
	for low < high {
		middle := (low + high) / 2
		seen, err := sees(r, views, 0, 0, middle)
		if err != nil {
			return refuse("layer %d: the mask: %v", l.Layer, err)
		}
		if seen {
			high = middle
		} else {
			low = middle + 1
		}
	}
	switch l.Window = s.total() - low; l.Window {
	case 0:
		return refuse("layer %d: the mask hides every key from the last of %d tokens", l.Layer, s.total())
	case s.total():
		l.Window = -1
	}
	p.masks[key] = l.Window
	return nil
}

// checkMask compares the masks with the causal one of the window: everywhere if it is small, else wherever something could change.
func (p *prover) checkMask(r *oracle.Run, l *layer, s setting) error {
	views, err := p.views(r, l, s)
	if err != nil {
		return err
	}
	for row := range s.rows {
		for _, q := range p.places(s.length, s.past, 0) {
			for _, k := range p.places(s.total(), 0, s.past+q, s.past+q-l.Window, s.past) {
				got, err := sees(r, views, row, q, k)
				if err != nil {
					return refuse("layer %d: the mask: %v", l.Layer, err)
				}
				if want := l.sees(s, row, q, k); got != want {
					return refuse("layer %d: the mask %q lets token %d of %d (%d of them new) see key %d: %v, %v was expected", l.Layer, l.masks[0].tensor, s.past+q, s.total(), s.length, k, got, want)
				}
			}
		}
	}
	return nil
}

// places are the indices of n that are looked at: all of few; else the first and last, those around the given ones and around the
// graph's own sizes, less an offset, and some between.
func (p *prover) places(n, offset int, around ...int) []int {
	var list []int
	add := func(i int) {
		for d := -1; d <= 1; d++ {
			if i+d >= 0 && i+d < n {
				list = append(list, i+d)
			}
		}
	}
	if n <= 32 {
		for i := range n {
			list = append(list, i)
		}
		return list
	}
	add(0)
	add(n - 1)
	for _, i := range around {
		add(i)
	}
	for _, size := range p.sizes {
		add(size - 1 - offset)
	}
	for i := range 8 {
		add(i * n / 8)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
