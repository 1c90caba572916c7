package sample

import "math"

// widen writes half-precision values as float32. Every one of them, NaN and infinities too, has an equal.
func widen(to []float32, from []uint16) {
	to = to[:len(from)]
	for i, h := range from {
		to[i] = fromHalf(h)
	}
}

// fromHalf reads IEEE 754 binary16. Exponent and fraction stand in the place of float32's; the scale makes up for the other bias and
// is exact for subnormal numbers too.
func fromHalf(h uint16) float32 {
	const scale = 1 << 112
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h&0x7fff) << 13
	if h&0x7c00 == 0x7c00 { // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | magnitude)
	}
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(magnitude)*scale))
}

// Floats copies the row to float32.
func (l Logits) Floats() []float32 {
	if l.F32 != nil {
		return append([]float32(nil), l.F32...)
	}
	row := make([]float32, len(l.F16))
	for i, h := range l.F16 {
		row[i] = fromHalf(h)
	}
	return row
}
