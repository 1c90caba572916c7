package derive

import "math"

// operator computes what the attention operator would: the cache after a run, keys and values as (rows, kv_heads, total, head_dim),
// and the output.
func (l *layer) operator(s setting) (keys, values, out []float64) {
	dim, total := l.HeadDim, s.total()
	pastKey, pastValue, key, value := noise(l.PastKey), noise(l.PastValue), noise(l.Key), noise(l.Value)
	size := s.rows * l.KVHeads * total * dim
	keys, values = make([]float64, size), make([]float64, size)
	x := make([]float64, dim)
	half := 0
	if l.PastKey == l.PastValue {
		half = s.rows * l.KVHeads * s.past * dim // both halves in one tensor, values after keys
	}
	for row := range s.rows {
		for head := range l.KVHeads {
			for place := range total {
				to := ((row*l.KVHeads+head)*total + place) * dim
				for i := range dim {
					if place < s.past {
						from := ((row*l.KVHeads+head)*s.past+place)*dim + i
						keys[to+i], values[to+i] = pastKey(from), pastValue(half+from)
						continue
					}
					x[i] = key(l.place(l.KeyShape, l.KVHeads, s, row, place-s.past, head, i))
					values[to+i] = value(l.place(l.ValueShape, l.KVHeads, s, row, place-s.past, head, i))
				}
				if place >= s.past {
					l.turn(x, place)
					copy(keys[to:], x)
				}
			}
		}
	}
	return keys, values, l.attend(s, keys, values)
}

// turn rotates the pairs of one head at a position.
func (l *layer) turn(x []float64, position int) {
	for j, f := range l.frequencies {
		a, b := l.pair(j)
		sin, cos := math.Sincos(f * float64(position))
		x[a], x[b] = l.rotaryScale*(x[a]*cos-x[b]*sin), l.rotaryScale*(x[b]*cos+x[a]*sin)
	}
}

// pair tells the two elements that turn together.
func (u Unfused) pair(j int) (a, b int) {
	if u.Interleaved {
		return 2 * j, 2*j + 1
	}
	return j, j + u.RotaryDim/2
}

// attend computes the output (rows, length, heads*head_dim).
func (l *layer) attend(s setting, keys, values []float64) []float64 {
	dim, total := l.HeadDim, s.total()
	out := make([]float64, s.rows*s.length*l.Heads*dim)
	query, x, weights := loud(l.Query), make([]float64, dim), make([]float64, total)
	for row := range s.rows {
		for head := range l.Heads {
			cache := (row*l.KVHeads + head/(l.Heads/l.KVHeads)) * total * dim
			for q := range s.length {
				for i := range dim {
					x[i] = query(l.place(l.QueryShape, l.Heads, s, row, q, head, i))
				}
				l.turn(x, s.past+q)
				sum := 0.0
				for k := range total {
					weights[k] = 0
					if !l.sees(s, row, q, k) {
						continue
					}
					score := 0.0
					for i := range dim {
						score += x[i] * keys[cache+k*dim+i]
					}
					if score *= l.scale; l.softcap != 0 {
						score = l.softcap * math.Tanh(score/l.softcap)
					}
					weights[k] = math.Exp(score)
					sum += weights[k]
				}
				to := ((row*s.length+q)*l.Heads + head) * dim
				for k, w := range weights {
					for i := range dim {
						out[to+i] += w / sum * values[cache+k*dim+i]
					}
				}
			}
		}
	}
	return out
}

// sees says whether the q-th new token sees the k-th of all.
func (l *layer) sees(s setting, row, q, k int) bool {
	p := s.past + q
	return k <= p && (l.Window < 0 || k > p-l.Window) && !s.hides(row, k)
}
