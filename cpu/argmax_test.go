package cpu_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

func checkArgmax(t *testing.T, what string, x []float32) {
	t.Helper()
	wantIndex, wantOK := argmax(x)
	if index, ok := cpu.Argmax(x); index != wantIndex || ok != wantOK {
		t.Fatalf("%s, length %d: got %d, %v; want %d, %v", what, len(x), index, ok, wantIndex, wantOK)
	}
}

func checkArgmaxF16(t *testing.T, what string, x []uint16) {
	t.Helper()
	wantIndex, wantOK := argmaxF16(x)
	if index, ok := cpu.ArgmaxF16(x); index != wantIndex || ok != wantOK {
		t.Fatalf("%s, length %d: got %d, %v; want %d, %v", what, len(x), index, ok, wantIndex, wantOK)
	}
}

func TestArgmaxTable(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			x     []float32
			index int
			ok    bool
		}{
			{"nil", nil, -1, false},
			{"one", []float32{-3}, 0, true},
			{"a tie goes to the lowest index", []float32{1, 7, 7, 2, 7}, 1, true},
			{"-0 before +0", []float32{-1, -zero, zero}, 1, true},
			{"+0 before -0", []float32{-1, zero, -zero}, 1, true},
			{"subnormals", []float32{0, denorm, 2 * denorm, -denorm}, 2, true},
			{"negative subnormals", []float32{-2 * denorm, -denorm}, 1, true},
			{"lowest finite among masked", []float32{masked, -3.4e38, masked}, 1, true},
			{"all masked", []float32{masked, masked}, -1, false},
			{"all NaN", []float32{nan, minus}, -1, false},
			{"NaN before", []float32{nan, 1, 2}, 2, false},
			{"NaN behind", []float32{2, 1, nan}, 0, false},
			{"NaN with a sign", []float32{2, minus, 3}, 2, false},
			{"+Inf never wins", []float32{1, inf, 2}, 2, false},
			{"+Inf alone", []float32{inf}, -1, false},
			{"NaN and masked", []float32{nan, masked}, -1, false},
		} {
			if index, ok := cpu.Argmax(c.x); index != c.index || ok != c.ok {
				t.Errorf("%s: %v: got %d, %v; want %d, %v", c.name, c.x, index, ok, c.index, c.ok)
			}
		}
	})
}

func TestArgmaxLengthsAndStarts(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		lengths(func(n int) {
			for offset := range fence {
				x, _ := fenced(n, offset, inf)
				normal(x, uint64(n*fence+offset))
				checkArgmax(t, "normal", x)
				seldom(x, uint64(n*fence+offset))
				checkArgmax(t, "ties", x)
				for i := range x {
					x[i] = -5
				}
				checkArgmax(t, "all equal", x)
				for i := range x {
					x[i] = masked
				}
				checkArgmax(t, "all masked", x)
			}
		})
	})
}

// places are the indices of interest in a row of n: all of a short one; the ends and the borders of vectors and blocks else.
func places(n int) []int {
	var at []int
	for i := range n {
		if n <= 257 || i < 70 || i >= n-70 || (i+2)%1024 < 4 && (i < 5000 || i > n-5000) {
			at = append(at, i)
		}
	}
	return at
}

// Each special value at each place of each length, over an ordinary row and over one that is masked.
func TestArgmaxSpecialAtEachPlace(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		lengths(func(n int) {
			ordinary, _ := fenced(n, n%fence, nan)
			normal(ordinary, uint64(n))
			empty, _ := fenced(n, (n+5)%fence, nan)
			for i := range empty {
				empty[i] = masked
			}
			// The answers for these rows are known without looking at 151,936 values each time.
			best, _ := argmax(ordinary)
			for _, i := range places(n) {
				for _, v := range []float32{100, nan, minus, inf} {
					was := ordinary[i]
					ordinary[i], empty[i] = v, v
					wantIndex, wantOK := i, finite(v)
					if !wantOK {
						wantIndex = best
					}
					if !wantOK && i == best {
						wantIndex, _ = argmax(ordinary)
					}
					if index, ok := cpu.Argmax(ordinary); index != wantIndex || ok != wantOK {
						t.Fatalf("%v at %d of %d: got %d, %v; want %d, %v", v, i, n, index, ok, wantIndex, wantOK)
					}
					if !wantOK {
						wantIndex = -1
					}
					if index, ok := cpu.Argmax(empty); index != wantIndex || ok != wantOK {
						t.Fatalf("%v at %d of %d masked: got %d, %v; want %d, %v", v, i, n, index, ok, wantIndex, wantOK)
					}
					ordinary[i], empty[i] = was, masked
				}
			}
		})
	})
}

const (
	halfOne    = 0x3c00
	halfLowest = 0xfbff
	halfInf    = 0x7c00
	halfMasked = 0xfc00
)

func TestArgmaxF16Table(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			x     []uint16
			index int
			ok    bool
		}{
			{"nil", nil, -1, false},
			{"a tie goes to the lowest index", []uint16{0, halfOne, halfOne}, 1, true},
			{"negative numbers", []uint16{0xbc00, 0xc000, 0xb800}, 2, true}, // -1, -2, -0.5
			{"-0 before +0", []uint16{0xbc00, 0x8000, 0}, 1, true},
			{"+0 before -0", []uint16{0xbc00, 0, 0x8000}, 1, true},
			{"subnormals", []uint16{0, 1, 2, 0x8001}, 2, true},
			{"negative subnormals", []uint16{0x8002, 0x8001}, 1, true},
			{"largest subnormal, least normal", []uint16{0x03ff, 0x0400}, 1, true},
			{"lowest finite among masked", []uint16{halfMasked, halfLowest, halfMasked}, 1, true},
			{"all masked", []uint16{halfMasked, halfMasked}, -1, false},
			{"least NaN", []uint16{halfOne, 0x7c01}, 0, false},
			{"least NaN with a sign", []uint16{halfOne, 0xfc01}, 0, false},
			{"largest NaNs", []uint16{0x7fff, 0xffff}, -1, false},
			{"+Inf never wins", []uint16{halfInf, halfOne}, 1, false},
		} {
			if index, ok := cpu.ArgmaxF16(c.x); index != c.index || ok != c.ok {
				t.Errorf("%s: %#x: got %d, %v; want %d, %v", c.name, c.x, index, ok, c.index, c.ok)
			}
		}
	})
}

func TestArgmaxF16LengthsAndStarts(t *testing.T) {
	long(t)
	onEachRung(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 3))
		lengths(func(n int) {
			for offset := range fence {
				x, _ := fenced(n, offset, uint16(halfInf))
				for i := range x {
					x[i] = uint16(r.IntN(0x7c00)) | uint16(r.IntN(2))<<15
				}
				checkArgmaxF16(t, "finite", x)
				for i := range x {
					x[i] = uint16(r.IntN(4)) | uint16(r.IntN(2))<<15
				}
				checkArgmaxF16(t, "subnormal ties", x)
				for i := range x {
					x[i] = uint16(r.Uint32())
				}
				checkArgmaxF16(t, "any bits", x)
				for i := range x {
					x[i] = halfMasked
				}
				checkArgmaxF16(t, "all masked", x)
			}
		})
	})
}

func TestArgmaxF16SpecialAtEachPlace(t *testing.T) {
	long(t)
	onEachRung(t, func(t *testing.T) {
		lengths(func(n int) {
			x, _ := fenced(n, n%fence, uint16(0x7e00))
			for i := range x {
				x[i] = uint16(0xb000 + i%100) // about -0.1
			}
			for _, i := range places(n) {
				was := x[i]
				for _, bits := range []uint16{halfOne, 0, 0x8000, 0x7e00, 0xfe00, 0xfc01, halfInf, halfMasked} {
					x[i] = bits
					index, ok := cpu.ArgmaxF16(x)
					wantOK := allowed(half(bits)) && (n > 1 || bits != halfMasked)
					if ok != wantOK || ok && bits != halfMasked && index != i {
						t.Fatalf("%#x at %d of %d: got %d, %v; want ok %v", bits, i, n, index, ok, wantOK)
					}
					if n <= 257 {
						checkArgmaxF16(t, "special", x)
					}
				}
				x[i] = was
			}
		})
	})
}

// Every half there is against every one of a sample, in both orders.
func TestArgmaxF16EveryPattern(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for a := range 1 << 16 {
			for _, b := range []uint16{0x8000, 1, 0xbc00, halfLowest, uint16(a)} {
				checkArgmaxF16(t, "pair", []uint16{uint16(a), b})
				checkArgmaxF16(t, "pair", []uint16{b, uint16(a)})
			}
		}
	})
}
