package cpu_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/shammah/shammah-engine/cpu"
)

// layer is a quantised matrix as a model has it, and packed.
type layer struct {
	cpu.Matrix
	codes  cpu.Codes
	packed []byte
}

// How a layer's zero points are stored.
const (
	noZeros = iota
	byteZeros
	packedZeros
)

// scales says how large scales are and whether they come as float16.
type scales struct {
	size float32
	half bool
}

// aligned is memory as the kernels want it for tiles.
func aligned(n int) []byte {
	whole := make([]byte, n+64)
	skip := -uintptr(unsafe.Pointer(&whole[0])) % 64
	return whole[skip:][:n:n]
}

func newLayer(tb testing.TB, m cpu.Matrix, zeros int, s scales, seed uint64) *layer {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	m.Zeros = zeros != noZeros
	l := &layer{Matrix: m, packed: aligned(m.Tiles() * m.TileBytes())}
	blocks := m.Inputs / m.Block
	l.codes.Codes = random(r, m.Outputs*m.Inputs*m.Bits/8, 255)
	for range m.Outputs * blocks {
		scale := s.size * float32(1+r.IntN(1000)) / 1000
		if r.IntN(4) == 0 {
			scale = -scale
		}
		if s.half {
			l.codes.Halves = append(l.codes.Halves, nearestHalf(scale))
		} else {
			l.codes.Scales = append(l.codes.Scales, scale)
		}
	}
	switch {
	case zeros == packedZeros:
		l.codes.Zeros, l.codes.PackedZeros = random(r, m.Outputs*((blocks*m.Bits+7)/8), 255), true
	case zeros == byteZeros:
		l.codes.Zeros = random(r, m.Outputs*blocks, 1<<m.Bits-1)
	}
	if err := l.Pack(l.packed, l.codes); err != nil {
		tb.Fatal(err)
	}
	return l
}

func random(r *rand.Rand, n, most int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(most + 1))
	}
	return b
}

// nearestHalf is found among all, which is slow and obvious.
func nearestHalf(v float32) uint16 {
	low, high := 0, 0x7bff // the magnitudes are in order
	for low < high {
		if middle := (low + high + 1) / 2; halves[middle] <= max(v, -v) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	if v < 0 {
		low |= 0x8000
	}
	return uint16(low)
}

func (l *layer) code(n, k int) int {
	i := n*l.Inputs + k
	if l.Bits == 8 {
		return int(l.codes.Codes[i])
	}
	return int(l.codes.Codes[i/2] >> (i % 2 * 4) & 15)
}

func (l *layer) zero(n, block int) int {
	blocks := l.Inputs / l.Block
	switch {
	case !l.Zeros:
		return 1 << (l.Bits - 1)
	case l.codes.PackedZeros && l.Bits == 4:
		return int(l.codes.Zeros[n*((blocks+1)/2)+block/2] >> (block % 2 * 4) & 15)
	}
	return int(l.codes.Zeros[n*blocks+block])
}

func (l *layer) scale(n, block int) float64 {
	i := n*(l.Inputs/l.Block) + block
	if l.codes.Halves != nil {
		return float64(halves[l.codes.Halves[i]])
	}
	return float64(l.codes.Scales[i])
}

func (l *layer) weight(n, k int) float64 {
	return float64(l.code(n, k)-l.zero(n, k/l.Block)) * l.scale(n, k/l.Block)
}

// quantised is x as the kernels are to see it: by units of 32, or 16, to 8 bits of the unit's largest magnitude.
func quantised(x []float32, unit int) []float64 {
	y := make([]float64, len(x))
	for u := 0; u < len(x); u += unit {
		var most float32
		for _, v := range x[u:][:unit] {
			most = max(most, v, -v)
		}
		for i, v := range x[u:][:unit] {
			if most > 0 {
				y[u+i] = math.RoundToEven(float64(v*(127/most))) * float64(most/127)
			}
		}
	}
	return y
}

// product is row times output n, and the sum of the terms' magnitudes, which bounds the error.
func (l *layer) product(row []float64, n int) (sum, size float64) {
	for k, v := range row {
		term := v * l.weight(n, k)
		sum += term
		size += math.Abs(term)
	}
	return sum, size
}

// tolerance is the error allowed to a product of that size: a scale of 32 bits is rounded to 11, and a sum over units is in float32.
func (l *layer) tolerance(size float64) float64 {
	if l.codes.Halves != nil {
		return size * 0x1p-20
	}
	return size * (0x1p-11 + 0x1p-20)
}

// linear computes all of the product in the given parts, or at once.
func (l *layer) linear(tb testing.TB, x, bias []float32, parts ...cpu.Part) []float32 {
	tb.Helper()
	a, err := cpu.Quantise(x, l.Inputs, min(l.Block, 32))
	if err != nil {
		tb.Fatal(err)
	}
	if parts == nil {
		parts = append(parts, l.Whole(a))
	}
	y := make([]float32, a.Rows*l.Outputs)
	for _, p := range parts {
		if err := l.Linear(l.packed, a, p, bias, y); err != nil {
			tb.Fatal(err)
		}
	}
	return y
}

func sameBits(a, b []float32) (int, bool) {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) && (finite(a[i]) || finite(b[i])) {
			return i, false
		}
	}
	return -1, len(a) == len(b)
}

// onPlain computes y on the plain rung and returns to the one in use.
func onPlain(t *testing.T, y func() []float32) []float32 {
	t.Helper()
	was := cpu.Rung()
	setRung(t, "plain")
	defer setRung(t, was)
	return y()
}

// Two matrices whose tiles take turns in memory are what each of them is alone.
func TestTilesInTurn(t *testing.T) {
	one := newLayer(t, cpu.Matrix{Outputs: 72, Inputs: 64, Block: 32, Bits: 4}, packedZeros, scales{0.02, false}, 1)
	two := newLayer(t, cpu.Matrix{Outputs: 72, Inputs: 64, Block: 32, Bits: 8}, noZeros, scales{0.02, false}, 2)
	apart := one.TileBytes() + two.TileBytes()
	together := aligned(one.Tiles() * apart)
	a, err := cpu.Quantise(values(3*64, 3), 64, 32)
	if err != nil {
		t.Fatal(err)
	}
	places := [][]byte{together, together[one.TileBytes():]}
	for i, l := range []*layer{one, two} {
		m := l.Matrix
		m.Apart = apart
		if err := m.Pack(places[i], l.codes); err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range []*layer{one, two} {
		want, got := make([]float32, 3*72), make([]float32, 3*72)
		m := l.Matrix
		m.Apart = apart
		if err := errors.Join(l.Linear(l.packed, a, l.Whole(a), nil, want), m.Linear(places[i], a, m.Whole(a), nil, got)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("matrix %d: got %v, want %v", i, got[:8], want[:8])
		}
		if err := m.Pack(places[i][:len(places[i])-apart], l.codes); err == nil {
			t.Errorf("matrix %d: memory for one tile less was taken", i)
		}
		for _, wrong := range []int{64, apart + 1, -apart, 1 << 40} {
			if m.Apart = wrong; m.Check() == nil {
				t.Errorf("matrix %d: tiles %d bytes apart were taken", i, wrong)
			}
		}
	}
}
