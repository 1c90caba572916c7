package cpu_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

// The oracles: the documented meaning in the plainest Go, written independently of the kernels.

func finite(v float32) bool { return v-v == 0 }

func allowed(v float32) bool { return finite(v) || v == float32(math.Inf(-1)) }

func argmax(x []float32) (index int, ok bool) {
	index, ok = -1, true
	for i, v := range x {
		if !allowed(v) {
			ok = false
		}
		if finite(v) && (index < 0 || v > x[index]) {
			index = i
		}
	}
	return index, ok && index >= 0
}

// half is the value of IEEE 754 half-precision bits.
func half(bits uint16) float32 {
	exponent, fraction := int(bits>>10&31), float64(bits&0x3ff)
	value := math.Ldexp(fraction, -24) // zero and the subnormals
	switch {
	case exponent == 31 && fraction != 0:
		value = math.NaN()
	case exponent == 31:
		value = math.Inf(1)
	case exponent > 0:
		value = math.Ldexp(1024+fraction, exponent-25)
	}
	if bits&0x8000 != 0 {
		value = -value
	}
	return float32(value)
}

// halves are the values of all there are.
var halves = func() (value [1 << 16]float32) {
	for bits := range value {
		value[bits] = half(uint16(bits))
	}
	return value
}()

func argmaxF16(x []uint16) (index int, ok bool) {
	index, ok = -1, true
	for i, bits := range x {
		v := halves[bits]
		if !allowed(v) {
			ok = false
		}
		if finite(v) && (index < 0 || v > halves[x[index]]) {
			index = i
		}
	}
	return index, ok && index >= 0
}

func topK(x []float32, k int) (index []int32, value []float32, ok bool) {
	_, ok = argmax(x)
	for i, v := range x {
		if finite(v) {
			index = append(index, int32(i))
		}
	}
	slices.SortStableFunc(index, func(a, b int32) int { return cmp.Compare(x[b], x[a]) })
	index = index[:min(k, len(index))]
	for _, i := range index {
		value = append(value, x[i])
	}
	return index, value, ok
}

// onEachRung runs f once on each rung of the ladder that this machine can execute, and puts back the one that was in use.
func onEachRung(t *testing.T, f func(t *testing.T)) {
	was := cpu.Rung()
	t.Cleanup(func() { setRung(t, was) })
	for _, rung := range cpu.Rungs() {
		t.Run(rung, func(t *testing.T) {
			setRung(t, rung)
			f(t)
		})
	}
}

func setRung(t testing.TB, name string) {
	t.Helper()
	if err := cpu.SetRung(name); err != nil {
		t.Fatal(err)
	}
}

var (
	nan    = float32(math.NaN())
	minus  = float32(math.Copysign(math.NaN(), -1)) // NaN with a sign
	inf    = float32(math.Inf(1))
	masked = float32(math.Inf(-1))
	zero   = float32(0)
	denorm = float32(math.SmallestNonzeroFloat32)
)

// large are the vocabularies of real models.
var large = []int{32_000, 151_936}

// lengths calls f for every short length, then for the large ones.
func lengths(f func(n int)) {
	for n := range 258 {
		f(n)
	}
	for _, n := range large {
		f(n)
	}
}

const fence = 16

// fenced returns n elements that begin at the given offset and have strangers on both sides: a kernel that reads or writes one
// element too many gives a wrong answer, or trips over intact.
func fenced[E any](n, offset int, stranger E) (row, whole []E) {
	whole = make([]E, offset+n+fence)
	for i := range whole {
		whole[i] = stranger
	}
	return whole[offset : offset+n : offset+n], whole
}

// normal fills x with numbers distributed like logits.
func normal(x []float32, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
	}
}

// seldom fills x with few different values, so that there are ties.
func seldom(x []float32, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range x {
		x[i] = float32(r.IntN(4)) / 2
	}
}
