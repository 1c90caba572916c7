package sample

import "math/rand/v2"

// bounded is the number of candidates that are tried first where top-k sets no limit: a nucleus is rarely larger.
const bounded = 256

// drawBounded draws among the k largest logits.
func (s *Sampler) drawBounded(row []float32) (int32, error) {
	n, ok := s.kernels.TopK(row, len(s.ids), s.ids, s.weights)
	if !ok {
		return -1, ErrNumeric
	}
	return s.drawAmong(s.ids[:n], s.weights[:n]), nil
}

// drawAmong draws one of ids by their logits, largest first, which become probabilities.
func (s *Sampler) drawAmong(ids []int32, prob []float32) int32 {
	s.kernels.Softmax(prob, s.scale)
	least, sum, keep := s.params.MinP*prob[0], 0.0, 0
	for keep < len(prob) && !s.full(sum) && prob[keep] >= least {
		sum += float64(prob[keep])
		keep++
	}
	return ids[s.pick(sum, prob[:keep])]
}

// drawAny draws from the whole vocabulary: all of it, or the part that top-p and min-p leave.
func (s *Sampler) drawAny(row []float32) (int32, error) {
	copy(s.prob, row)
	s.kernels.Softmax(s.prob, s.scale)
	if s.prob[0] != s.prob[0] { // NaN
		return -1, ErrNumeric
	}
	if s.ids == nil {
		return int32(s.pick(1, s.prob)), nil
	}
	n, ok := s.kernels.TopK(row, len(s.weights), s.ids, s.weights)
	if !ok {
		return -1, ErrNumeric
	}
	least, sum := s.params.MinP*s.prob[s.ids[0]], 0.0
	for keep, id := range s.ids[:n] {
		if s.full(sum) || s.prob[id] < least {
			return s.pickID(sum, s.ids[:keep]), nil
		}
		sum += float64(s.prob[id])
	}
	ids, sum := s.nucleus(row, row[s.ids[0]], least)
	return s.pickID(sum, ids), nil
}

// full reports whether top-p takes no more candidates after those whose probabilities add up to sum.
func (s *Sampler) full(sum float64) bool {
	return s.params.TopP < 1 && sum >= float64(s.params.TopP)
}

// nucleus collects what top-p and min-p leave, however much that is, and its probability, without sorting: the tokens are put into bins by
// their distance from the best, and only the bin that holds the border of top-p is looked at more closely. The order of the result means
// nothing, but is the same for the same row.
func (s *Sampler) nucleus(row []float32, best, least float32) (ids []int32, sum float64) {
	const perNat = 8 // what is 88 or more below the best has no probability in float32
	var mass [88 * perNat]float64
	scale := s.scale * perNat
	for id, p := range s.prob {
		if p > 0 && p >= least {
			mass[min(int((best-row[id])*scale), len(mass)-1)] += float64(p)
		}
	}
	border := 0
	for border < len(mass) && !s.full(sum+mass[border]) {
		sum += mass[border]
		border++
	}
	ids = s.ids[:0]
	collect := func(from, to int) {
		for id, p := range s.prob {
			if p > 0 && p >= least {
				if bin := min(int((best-row[id])*scale), len(mass)-1); bin >= from && bin < to {
					ids = append(ids, int32(id))
				}
			}
		}
	}
	if border < len(mass) {
		collect(border, border+1)
		ids, sum = s.fill(row, ids, sum)
	}
	collect(0, border)
	return ids, sum
}

// fill keeps the most likely of ids until sum is full, by selection: each round divides the part that holds the border.
func (s *Sampler) fill(row []float32, ids []int32, sum float64) ([]int32, float64) {
	before := func(a, b int32) bool { return row[a] > row[b] || row[a] == row[b] && a < b }
	var pivots rand.PCG // at random, so that no row is slow; from the same seed, so that the same row gives the same order
	low, high := 0, len(ids)
	for low < high && !s.full(sum) {
		at := low + int(pivots.Uint64()%uint64(high-low))
		pivot := ids[at]
		ids[at], ids[high-1] = ids[high-1], pivot
		split, part := low, 0.0
		for i := low; i < high-1; i++ {
			if id := ids[i]; before(id, pivot) {
				ids[i], ids[split] = ids[split], id
				part += float64(s.prob[id])
				split++
			}
		}
		ids[high-1], ids[split] = ids[split], pivot
		if s.full(sum + part) {
			high = split
			continue
		}
		sum += part + float64(s.prob[pivot])
		low = split + 1
	}
	return ids[:low], sum
}

// pick draws an index with the given probabilities, which add up to sum.
func (s *Sampler) pick(sum float64, prob []float32) int {
	target, last := s.uniform()*sum, 0
	for i, p := range prob {
		if p > 0 {
			if target -= float64(p); target < 0 {
				return i
			}
			last = i
		}
	}
	return last // rounding left a little of sum over
}

// pickID draws one of ids by the probabilities of the whole vocabulary.
func (s *Sampler) pickID(sum float64, ids []int32) int32 {
	target, last := s.uniform()*sum, ids[0]
	for _, id := range ids {
		if p := s.prob[id]; p > 0 {
			if target -= float64(p); target < 0 {
				return id
			}
			last = id
		}
	}
	return last
}

// uniform is a number from 0 up to, but not including, 1.
func (s *Sampler) uniform() float64 { return float64(s.random.Uint64()>>11) / (1 << 53) }
