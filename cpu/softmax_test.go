package cpu_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

const softmaxError = 2e-7 // relative, as documented

// softmax is the exact result, in float64, for exponents that are rounded to float32 as documented.
func softmax(x []float32, scale float32) []float64 {
	top := slices.Max(x)
	sum := 0.0
	p := make([]float64, len(x))
	for i, v := range x {
		d := v - top // two statements, so that no compiler fuses them
		t := float32(d * scale)
		p[i] = math.Exp(float64(t))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func checkSoftmax(t *testing.T, what string, x []float32, scale float32) {
	t.Helper()
	want := softmax(x, scale)
	got, whole := fenced(len(x), len(x)%fence, float32(-7))
	copy(got, x)
	cpu.Softmax(got, scale)
	sum := 0.0
	for i, p := range got {
		sum += float64(p)
		e := math.Abs(float64(p)-want[i]) / want[i]
		near := e <= softmaxError
		if want[i] < 0x1p-126 { // a subnormal result has few bits of its own, and may be 0
			near = 0 <= p && p <= 0x1p-126
		}
		if !near {
			t.Fatalf("%s, length %d, scale %v: place %d: got %v, want %v: a relative error of %.3g", what, len(x), scale, i, p, want[i], e)
		}
	}
	if !(math.Abs(sum-1) <= softmaxError) {
		t.Fatalf("%s, length %d, scale %v: the sum is 1 %+.3g", what, len(x), scale, sum-1)
	}
	for i, v := range whole {
		if (i < len(x)%fence || i >= len(x)%fence+len(x)) && v != -7 {
			t.Fatalf("%s, length %d: a value outside the row was written", what, len(x))
		}
	}
}

func TestSoftmaxAgainstFloat64(t *testing.T) {
	long(t)
	onEachRung(t, func(t *testing.T) {
		lengths(func(n int) {
			if n == 0 {
				return
			}
			x := make([]float32, n)
			for _, scale := range []float32{1, 0.3, 1.0 / 0.7, 25} {
				normal(x, uint64(n))
				checkSoftmax(t, "normal", x, scale)
				fillWith(x, func(i int) float32 { return -float32(i%97) * 0.93 })
				checkSoftmax(t, "spread", x, scale)
				fillWith(x, func(i int) float32 { return 4 })
				checkSoftmax(t, "equal", x, scale)
				fillWith(x, func(i int) float32 {
					if i%3 == 1 {
						return masked
					}
					return float32(i % 5)
				})
				checkSoftmax(t, "masked", x, scale)
			}
		})
	})
}

// Every rung gives the same bits, because the same seed is to give the same text on every machine.
func TestSoftmaxRungsAgreeToTheBit(t *testing.T) {
	lengths(func(n int) {
		x := make([]float32, n)
		normal(x, uint64(n))
		for i := range x {
			x[i] *= float32(1 + i%9)
		}
		for _, scale := range []float32{1, 1.37} {
			var want []float32
			for _, rung := range cpu.Rungs() {
				setRung(t, rung)
				got := slices.Clone(x)
				cpu.Softmax(got, scale)
				if want == nil {
					want = got
				}
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("length %d, place %d: %s gives %x, %s gives %x", n, i, cpu.Rungs()[0], want[i], rung, got[i])
					}
				}
			}
		}
	})
	setRung(t, cpu.Rungs()[0])
}

func TestSoftmaxTable(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			x     []float32
			scale float32
			want  []float32
		}{
			{"empty", []float32{}, 1, []float32{}},
			{"one", []float32{-80}, 1, []float32{1}},
			{"two equal", []float32{3, 3}, 1, []float32{0.5, 0.5}},
			{"masked", []float32{masked, 1, 1, masked}, 1, []float32{0, 0.5, 0.5, 0}},
			{"masked, tiny scale", []float32{masked, 1, 1}, 1e-45, []float32{0, 0.5, 0.5}},
			{"out of reach", []float32{0, -1000, 0}, 1, []float32{0.5, 0, 0.5}},
			{"the difference overflows", []float32{3e38, -3e38}, 1, []float32{1, 0}},
			{"infinite scale", []float32{2, 1, 2, masked}, inf, []float32{0.5, 0, 0.5, 0}},
			{"infinite scale, hardly different", []float32{0, denorm, -zero}, inf, []float32{0, 1, 0}},
			{"all masked", []float32{masked, masked}, 1, []float32{nan, nan}},
			{"NaN", []float32{1, nan, 2}, 1, []float32{nan, nan, nan}},
			{"+Inf", []float32{1, inf}, 1, []float32{nan, nan}},
			{"scale 0", []float32{1, 2}, 0, []float32{nan, nan}},
			{"negative scale", []float32{1, 2}, -1, []float32{nan, nan}},
			{"scale NaN", []float32{1, 2}, nan, []float32{nan, nan}},
		} {
			got := slices.Clone(c.x)
			cpu.Softmax(got, c.scale)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s: %v, scale %v: got %v, want %v", c.name, c.x, c.scale, got, c.want)
			}
		}
	})
}
