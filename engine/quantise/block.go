package quantise

// smallest is the magnitude below which a whole block counts as zero.
const smallest = 1e-30

// tries are the scales that a block of 4 bits is rounded with, as the number that its largest weight becomes. Exporters take -8 alone.
var tries = [...]float32{-8, -7.2, -7.4, -7.6, -7.8, -8.2, -8.4, -8.6, -8.8}

// largest is the weight of the greatest magnitude; ok is false if one of them is no finite number.
func largest(x []float32) (top float32, ok bool) {
	high, low := float32(0), float32(0)
	for _, v := range x {
		if v-v != 0 {
			return 0, false
		}
		if v > high {
			high = v
		} else if v < low {
			low = v
		}
	}
	if -low >= high {
		return low, true
	}
	return high, true
}

// toNearest is the whole number nearest to v, which is far below 2^22. The conversion keeps the compiler from joining operations.
func toNearest(v float32) float32 {
	const magic = 3 << 22
	return float32(v+magic) - magic
}

// clamp4 keeps a whole number within 4 bits.
func clamp4(q float32) float32 {
	if q > 7 {
		return 7
	}
	if q < -8 {
		return -8
	}
	return q
}

// round4 rounds a block to codes of 4 bits around 8, with the scale of tries that leaves the least squared error: for whole numbers q the best
// scale is x·q / q·q, and the error then x·x - (x·q)² / q·q. What the block lacks is 8, which stands for 0.
func round4(x []float32, codes []byte) (scale float32, ok bool) {
	var u [Block]float32
	var q [Block]byte
	top, ok := largest(x)
	if !ok {
		return 0, false
	}
	if top < -smallest || top > smallest {
		for i, v := range x {
			u[i] = v / top
		}
		best, score, ratio := float32(0), float32(-1), float32(0)
		for _, t := range tries {
			var uq, qq float32
			for _, v := range u {
				c := clamp4(toNearest(float32(v * t)))
				uq += float32(v * c)
				qq += float32(c * c)
			}
			if s := uq * uq / qq; s > score {
				best, score, ratio = t, s, uq/qq
			}
		}
		scale = ratio * top
		for i, v := range u {
			q[i] = byte(int32(clamp4(toNearest(float32(v*best)))) + 8)
		}
	} else {
		for i := range q {
			q[i] = 8
		}
	}
	for i := range codes {
		codes[i] = q[2*i] | q[2*i+1]<<4
	}
	return scale, true
}

// round8 rounds a block to codes of 8 bits around 128.
func round8(x []float32, codes []byte) (scale float32, ok bool) {
	top, ok := largest(x)
	if !ok {
		return 0, false
	}
	for i := range codes {
		codes[i] = 128
	}
	if top > -smallest && top < smallest {
		return 0, true
	}
	scale = max(top, -top) / 127
	for i, v := range x {
		codes[i] = byte(int32(toNearest(v/scale)) + 128)
	}
	return scale, true
}
