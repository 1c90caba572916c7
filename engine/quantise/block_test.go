package quantise

import (
	"math"
	"math/rand/v2"
	"testing"
)

// asExporters rounds a block as ONNX Runtime's tools do: the largest weight becomes -8.
func asExporters(x []float32) (squares float64) {
	top, _ := largest(x)
	scale := top / -8
	for _, v := range x {
		q := math.Min(math.Max(math.RoundToEven(float64(v/scale)), -8), 7)
		d := float64(v) - q*float64(scale)
		squares += d * d
	}
	return squares
}

func TestRound4IsNoWorseThanTheExporters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ours, theirs float64
	for range 2000 {
		size := math.Exp(r.NormFloat64() * 10)
		x := make([]float32, 1+r.IntN(Block))
		for i := range x {
			x[i] = float32(r.NormFloat64() * size)
		}
		codes := make([]byte, Block/2)
		scale, ok := round4(x, codes)
		if !ok {
			t.Fatalf("%v: refused", x)
		}
		var squares float64
		for i := range Block {
			w := float64(int(codes[i/2]>>(4*(i%2))&15)-8) * float64(scale)
			if i >= len(x) {
				if w != 0 {
					t.Fatalf("what the block lacks is %g, want 0", w)
				}
				continue
			}
			squares += (float64(x[i]) - w) * (float64(x[i]) - w)
		}
		want := asExporters(x)
		if squares > want*1.001 {
			t.Fatalf("%v: squared error %g, the exporters' is %g", x, squares, want)
		}
		ours, theirs = ours+squares/(size*size), theirs+want/(size*size)
	}
	if ours > 0.9*theirs {
		t.Errorf("squared error %g, the exporters' %g: want a tenth less at least", ours, theirs)
	}
}

func TestRound8(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		x := make([]float32, 1+r.IntN(Block))
		top := 0.0
		for i := range x {
			x[i] = float32(r.NormFloat64())
			top = max(top, math.Abs(float64(x[i])))
		}
		codes := make([]byte, Block)
		scale, ok := round8(x, codes)
		for i, v := range x {
			if w := float64(int(codes[i])-128) * float64(scale); !ok || math.Abs(w-float64(v)) > top/127/2*1.0001 {
				t.Fatalf("%g becomes %g, more than half a step of %g away", v, w, scale)
			}
		}
	}
}

func TestRoundOddBlocks(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name string
		x    []float32
		ok   bool
		want []float32 // with a tolerance of a fifteenth of the largest
	}{
		{"zeros", make([]float32, 32), true, make([]float32, 32)},
		{"one weight", []float32{0.5}, true, []float32{0.5}},
		{"opposite weights", []float32{1, -1, 0}, true, []float32{1, -1, 0}},
		{"nearly nothing", []float32{1e-40, -1e-38}, true, []float32{0, 0}},
		{"the largest there are", []float32{3e38, -1.5e38}, true, []float32{3e38, -1.5e38}},
		{"NaN", []float32{1, nan}, false, nil},
		{"infinity", []float32{1, inf}, false, nil},
		{"minus infinity", []float32{-inf, 1}, false, nil},
	}
	for _, test := range tests {
		codes := make([]byte, Block/2)
		scale, ok := round4(test.x, codes)
		if _, ok8 := round8(test.x, make([]byte, Block)); ok != test.ok || ok8 != test.ok {
			t.Errorf("%s: got %v and %v, want %v", test.name, ok, ok8, test.ok)
		}
		for i, want := range test.want {
			got := float32(int(codes[i/2]>>(4*(i%2))&15)-8) * scale
			top, _ := largest(test.x)
			if math.Abs(float64(got-want)) > math.Abs(float64(top))/15+1e-37 || got-got != 0 {
				t.Errorf("%s: weight %d is %g, want %g", test.name, i, got, want)
			}
		}
	}
}

func TestFromHalf(t *testing.T) {
	for h := range 1 << 16 {
		sign, exponent, fraction := 1.0, h>>10&31, float64(h&1023)
		if h>>15 == 1 {
			sign = -1
		}
		want := sign * math.Ldexp(1024+fraction, exponent-25)
		switch {
		case exponent == 0:
			want = sign * math.Ldexp(fraction, -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(int(sign))
		case exponent == 31:
			want = math.NaN()
		}
		got := float64(fromHalf(uint16(h)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (sign < 0) {
			t.Fatalf("%#04x: got %g, want %g", h, got, want)
		}
	}
}
