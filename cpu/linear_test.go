package cpu_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

func values(n int, seed uint64) []float32 {
	x := make([]float32, n)
	normal(x, seed)
	return x
}

// checkLinear holds one layer against the definition in float64, and against the plain rung bit for bit.
func checkLinear(t *testing.T, l *layer, rows int) {
	t.Helper()
	x, bias := values(rows*l.Inputs, uint64(rows)), values(l.Outputs, 3)
	for i := range bias {
		bias[i] *= float32(math.Abs(l.scale(i, 0)))
	}
	for _, b := range [][]float32{nil, bias} {
		got := l.linear(t, x, b)
		plain := onPlain(t, func() []float32 { return l.linear(t, x, b) })
		if i, same := sameBits(got, plain); !same {
			t.Fatalf("%+v, %d rows, at %d: got %x, want %x as the plain rung has it", l.Matrix, rows, i, got[i], plain[i])
		}
		for r := range rows {
			row := quantised(x[r*l.Inputs:][:l.Inputs], min(l.Block, 32))
			for n := range l.Outputs {
				want, size := l.product(row, n)
				if b != nil {
					want, size = want+float64(b[n]), size+math.Abs(float64(b[n]))
				}
				if y := float64(got[r*l.Outputs+n]); !(math.Abs(y-want) <= l.tolerance(size)) {
					t.Fatalf("%+v, row %d of %d, output %d: got %g, want %g", l.Matrix, r, rows, n, y, want)
				}
			}
		}
	}
}

// forms calls f for every form of weights: bits, block, zero points and scales.
func forms(f func(m cpu.Matrix, zeros int, s scales)) {
	for _, bits := range []int{4, 8} {
		for _, block := range []int{16, 32, 64, 128} {
			for _, zeros := range []int{noZeros, byteZeros, packedZeros} {
				for _, s := range []scales{{0.02, false}, {0.02, true}, {1e-7, false}, {1e-7, true}, {6e4, true}, {1e30, false}} {
					f(cpu.Matrix{Block: block, Bits: bits}, zeros, s)
				}
			}
		}
	}
}

func TestLinearForms(t *testing.T) {
	long(t)
	onEachRung(t, func(t *testing.T) {
		seed := uint64(0)
		forms(func(m cpu.Matrix, zeros int, s scales) {
			seed++
			m.Outputs, m.Inputs = 1+int(seed*7%41), m.Block*(1+int(seed%5))
			checkLinear(t, newLayer(t, m, zeros, s, seed), 1+int(seed%4))
		})
	})
}

func TestLinearRowsAndOutputs(t *testing.T) {
	long(t)
	onEachRung(t, func(t *testing.T) {
		for _, m := range []cpu.Matrix{{Block: 16, Bits: 4}, {Block: 16, Bits: 8}, {Block: 32, Bits: 4}, {Block: 64, Bits: 8}} {
			m.Inputs = 2 * m.Block
			for zeros := range 2 {
				m.Outputs = 17
				l := newLayer(t, m, zeros, scales{0.02, true}, 1)
				for rows := 1; rows <= 33; rows++ {
					checkLinear(t, l, rows)
				}
			}
			for m.Outputs = 1; m.Outputs <= 35; m.Outputs++ {
				checkLinear(t, newLayer(t, m, noZeros, scales{0.02, false}, 2), 2)
			}
		}
	})
}

// A row's outputs do not depend on where it lies, how many rows there are, or how the work is cut.
func TestLinearPartsAndPositions(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		const rows = 29
		l := newLayer(t, cpu.Matrix{Outputs: 100, Inputs: 320, Block: 32, Bits: 4}, byteZeros, scales{0.02, true}, 5)
		x := values(rows*l.Inputs, 6)
		whole := l.linear(t, x, nil)
		cut := l.linear(t, x, nil, cpu.Part{Tile: 0, Tiles: 3, Row: 0, Rows: rows}, cpu.Part{Tile: 3, Tiles: 1, Row: 0, Rows: 10},
			cpu.Part{Tile: 3, Tiles: 1, Row: 10, Rows: 19}, cpu.Part{Tile: 4, Tiles: 3, Row: 0, Rows: 1},
			cpu.Part{Tile: 4, Tiles: 3, Row: 1, Rows: 28})
		if i, same := sameBits(cut, whole); !same {
			t.Errorf("in parts, at %d: got %x, want %x", i, cut[i], whole[i])
		}
		for r := range rows {
			alone := l.linear(t, x[r*l.Inputs:][:l.Inputs], nil)
			if i, same := sameBits(alone, whole[r*l.Outputs:][:l.Outputs]); !same {
				t.Errorf("row %d alone, at %d: got %x, want %x", r, i, alone[i], whole[r*l.Outputs+i])
			}
		}
	})
}

func TestLinearNotFinite(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, block := range []int{16, 64} {
			l := newLayer(t, cpu.Matrix{Outputs: 20, Inputs: 128, Block: block, Bits: 4}, noZeros, scales{0.02, false}, 8)
			for _, v := range []float32{nan, minus, inf, -inf} {
				for at := range l.Inputs {
					x := values(3*l.Inputs, 9)
					x[l.Inputs+at] = v
					for i, y := range l.linear(t, x, nil) {
						if bad := i/l.Outputs == 1; bad != (y != y) {
							t.Fatalf("%g at %d of row 1: row %d, output %d: got %g; want NaN: %v", v, at, i/l.Outputs, i%l.Outputs, y, bad)
						}
					}
				}
			}
		}
	})
}

// Rows of zeros, of numbers too small to divide by, and of large ones.
func TestLinearExtremeRows(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		l := newLayer(t, cpu.Matrix{Outputs: 20, Inputs: 64, Block: 32, Bits: 4}, noZeros, scales{0.02, true}, 10)
		for _, size := range []float32{0, denorm, 1e-37, 1e-20, 1e20} {
			x := values(l.Inputs, 11)
			for i := range x {
				x[i] *= size
			}
			row := quantised(x, 32)
			for n, got := range l.linear(t, x, nil) {
				want, terms := l.product(row, n)
				if size < 1e-30 {
					want, terms = 0, 1e-30 // nothing that anything else would notice
				}
				if !(math.Abs(float64(got)-want) <= l.tolerance(terms)) {
					t.Fatalf("values of about %g, output %d: got %g, want %g", size, n, got, want)
				}
			}
		}
	})
}

func act(a cpu.Act, x float64) float64 {
	switch a {
	case cpu.SiLU:
		return x / (1 + math.Exp(-x))
	case cpu.GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}
	return 0.5 * x * math.Erfc(-x/math.Sqrt2)
}

func TestGated(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, rows := range []int{1, 2, 3, 7, 13, 20} {
			for a := cpu.SiLU; a <= cpu.GELUErf; a++ {
				m := cpu.Matrix{Outputs: 16*rows + 5, Inputs: 96, Block: 32, Bits: 4}
				gate, up := newLayer(t, m, noZeros, scales{0.1, true}, 12), newLayer(t, m, noZeros, scales{0.1, true}, 13)
				x, bias := values(rows*m.Inputs, 14), values(m.Outputs, 15)
				compute := func() []float32 { return gated(t, gate, up, a, x, bias) }
				got, plain := compute(), onPlain(t, compute)
				if i, same := sameBits(got, plain); !same {
					t.Fatalf("activation %d, %d rows, at %d: got %x, want %x as the plain rung has it", a, rows, i, got[i], plain[i])
				}
				g, u := gate.linear(t, x, nil), up.linear(t, x, bias)
				for i := range got {
					want := act(a, float64(g[i])) * float64(u[i])
					if e := math.Abs(float64(got[i]) - want); !(e <= 1e-6*math.Abs(want)+1e-7*math.Abs(float64(u[i]))) {
						t.Fatalf("activation %d of %g times %g: got %g, want %g", a, g[i], u[i], got[i], want)
					}
				}
			}
		}
	})
}

func gated(t *testing.T, gate, up *layer, a cpu.Act, x, bias []float32) []float32 {
	t.Helper()
	q, err := cpu.Quantise(x, gate.Inputs, min(gate.Block, 32))
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, q.Rows*gate.Outputs)
	if err := gate.Gated(gate.packed, up.packed, a, q, gate.Whole(q), nil, bias, y); err != nil {
		t.Fatal(err)
	}
	return y
}

// Activations all along the line, over a layer that passes its one input on: the code 9 less the zero point 8, scale 1.
func TestGatedAlongTheLine(t *testing.T) {
	m := cpu.Matrix{Outputs: 1, Inputs: 32, Block: 32, Bits: 4}
	codes := make([]byte, 16)
	for i := range codes {
		codes[i] = 0x88
	}
	codes[0] = 0x89
	l := &layer{Matrix: m, packed: aligned(m.TileBytes())}
	if err := l.Pack(l.packed, cpu.Codes{Codes: codes, Scales: []float32{1}}); err != nil {
		t.Fatal(err)
	}
	one := &layer{Matrix: m, packed: aligned(m.TileBytes())}
	if err := one.Pack(one.packed, cpu.Codes{Codes: make([]byte, 16), Scales: []float32{0}}); err != nil {
		t.Fatal(err)
	}
	onEachRung(t, func(t *testing.T) {
		for v := float32(-110); v < 40; v += 0.0137 {
			x := make([]float32, m.Inputs)
			x[0] = v
			g := float64(l.linear(t, x, nil)[0])
			for a := cpu.SiLU; a <= cpu.GELUErf; a++ {
				got, want := float64(gated(t, l, one, a, x, []float32{1})[0]), act(a, g)
				// Far below zero the result is next to nothing, and exp gives 0 where it would be subnormal.
				if e := math.Abs(got - want); !(e <= 4e-7*math.Abs(want)+2e-7) {
					t.Fatalf("activation %d of %g: got %g, want %g", a, g, got, want)
				}
			}
		}
	})
}

func TestUnpack(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		seed := uint64(100)
		forms(func(m cpu.Matrix, zeros int, s scales) {
			seed++
			m.Outputs, m.Inputs = 18, 2*m.Block
			l := newLayer(t, m, zeros, s, seed)
			x := make([]float32, m.Inputs)
			for n := range m.Outputs {
				if err := l.Unpack(l.packed, n, x); err != nil {
					t.Fatal(err)
				}
				for k := range x {
					want, allowed := l.weight(n, k), 0.0
					if !s.half {
						allowed = math.Abs(want) * 0x1p-11
					}
					// Tiny scales of float16 beside large ones keep their value, those of float32 lie within 2^28 of the largest.
					if e := math.Abs(float64(x[k]) - want); !(e <= allowed) {
						t.Fatalf("%+v, %+v, weight %d, %d: got %g, want %g", l.Matrix, s, n, k, x[k], want)
					}
				}
			}
		})
	})
}

// The smallest float16 keeps its value beside the largest.
func TestUnpackScalesOfAllSizes(t *testing.T) {
	m := cpu.Matrix{Outputs: 1, Inputs: 128, Block: 32, Bits: 4}
	codes := cpu.Codes{Codes: random(rand.New(rand.NewPCG(1, 1)), 64, 255), Halves: []uint16{0x7bff, 1, 0x8003, 0x0401}}
	l := &layer{Matrix: m, codes: codes, packed: aligned(m.TileBytes())}
	onEachRung(t, func(t *testing.T) {
		x := make([]float32, m.Inputs)
		if err := errors.Join(l.Pack(l.packed, codes), l.Unpack(l.packed, 0, x)); err != nil {
			t.Fatal(err)
		}
		for k := range x {
			if want := l.weight(0, k); float64(x[k]) != want {
				t.Errorf("weight %d: got %g, want %g", k, x[k], want)
			}
		}
	})
}

func TestLinearErrors(t *testing.T) {
	l := newLayer(t, cpu.Matrix{Outputs: 20, Inputs: 64, Block: 32, Bits: 4}, noZeros, scales{0.02, false}, 16)
	a, err := cpu.Quantise(values(3*64, 17), 64, 32)
	if err != nil {
		t.Fatal(err)
	}
	other, err := cpu.Quantise(values(3*64, 17), 64, 16)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, 60)
	whole := l.Whole(a)
	for _, c := range []struct {
		name string
		err  error
	}{
		{"short tiles", l.Linear(l.packed[:len(l.packed)-64], a, whole, nil, y)},
		{"unaligned tiles", l.Linear(append(aligned(32), l.packed...)[32:], a, whole, nil, y)},
		{"tiles past the end", l.Linear(l.packed, a, cpu.Part{Tile: 1, Tiles: 2, Rows: 3}, nil, y)},
		{"negative tile", l.Linear(l.packed, a, cpu.Part{Tile: -1, Tiles: 1, Rows: 3}, nil, y)},
		{"rows past the end", l.Linear(l.packed, a, cpu.Part{Tiles: 2, Row: 2, Rows: 2}, nil, y)},
		{"other units", l.Linear(l.packed, other, whole, nil, y)},
		{"short bias", l.Linear(l.packed, a, whole, y[:19], y)},
		{"short result", l.Linear(l.packed, a, whole, nil, y[:59])},
		{"no such activation", l.Gated(l.packed, l.packed, 3, a, whole, nil, nil, y)},
		{"output past the end", l.Unpack(l.packed, 20, make([]float32, 64))},
		{"short row", l.Unpack(l.packed, 0, make([]float32, 63))},
	} {
		if c.err == nil {
			t.Errorf("%s: got no error", c.name)
		}
	}
	for _, c := range []struct{ n, inputs, unit int }{{64, 64, 8}, {64, 48, 32}, {65, 64, 32}, {64, 0, 32}, {64, -32, 32}} {
		if _, err := cpu.Quantise(make([]float32, c.n), c.inputs, c.unit); err == nil {
			t.Errorf("quantise %d values in rows of %d, unit %d: got no error", c.n, c.inputs, c.unit)
		}
	}
}

func TestPackErrors(t *testing.T) {
	good := func() (cpu.Matrix, cpu.Codes) {
		return cpu.Matrix{Outputs: 3, Inputs: 64, Block: 32, Bits: 4}, cpu.Codes{Codes: make([]byte, 96), Scales: make([]float32, 6)}
	}
	for _, c := range []struct {
		name   string
		change func(m *cpu.Matrix, c *cpu.Codes, into *[]byte)
		want   error
	}{
		{"NaN", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) { c.Scales[5] = nan }, cpu.ErrScale},
		{"infinity", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) { c.Scales[0] = -inf }, cpu.ErrScale},
		{"float16 infinity", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) {
			c.Scales, c.Halves = nil, []uint16{0, 0, 0xfc00, 0, 0, 0}
		}, cpu.ErrScale},
		{"no outputs", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Outputs = 0 }, nil},
		{"block", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Block = 0 }, nil},
		{"block of 48", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Block = 48 }, nil},
		{"half a block", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Inputs = 48 }, nil},
		{"bits", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Bits = 2 }, nil},
		{"codes", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) { c.Codes = c.Codes[:95] }, nil},
		{"scales", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) { c.Scales = c.Scales[:5] }, nil},
		{"zeros", func(_ *cpu.Matrix, c *cpu.Codes, _ *[]byte) { c.Zeros = make([]byte, 6) }, nil},
		{"no zeros", func(m *cpu.Matrix, _ *cpu.Codes, _ *[]byte) { m.Zeros = true }, nil},
		{"room", func(_ *cpu.Matrix, _ *cpu.Codes, into *[]byte) { *into = (*into)[64:] }, nil},
		{"alignment", func(_ *cpu.Matrix, _ *cpu.Codes, into *[]byte) { *into = append(*into, 0)[1:] }, nil},
	} {
		m, codes := good()
		into := aligned(m.TileBytes())
		if err := m.Pack(into, codes); err != nil {
			t.Fatal(err)
		}
		c.change(&m, &codes, &into)
		if err := m.Pack(into, codes); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v", c.name, err)
		}
	}
}

// Float weights, both ways they may lie, against the definition.
func TestPackFloats(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, bits := range []int{4, 8} {
			for _, block := range []int{16, 32, 128} {
				m := cpu.Matrix{Outputs: 19, Inputs: 2 * block, Block: block, Bits: bits}
				w := values(m.Outputs*m.Inputs, 18)
				for i := range block {
					w[i] = 0
				}
				w[block] = 1e-45
				transposed := make([]float32, len(w))
				for n := range m.Outputs {
					for k := range m.Inputs {
						transposed[k*m.Outputs+n] = w[n*m.Inputs+k]
					}
				}
				a, b := aligned(m.Tiles()*m.TileBytes()), aligned(m.Tiles()*m.TileBytes())
				if err := errors.Join(m.PackFloats(a, w, m.Inputs, 1), m.PackFloats(b, transposed, 1, m.Outputs)); err != nil {
					t.Fatal(err)
				}
				if string(a) != string(b) {
					t.Fatalf("%+v: the transposed matrix gives other tiles", m)
				}
				checkQuantised(t, m, a, w)
			}
		}
	})
}

func checkQuantised(t *testing.T, m cpu.Matrix, packed []byte, w []float32) {
	t.Helper()
	got := make([]float32, m.Inputs)
	for n := range m.Outputs {
		if err := m.Unpack(packed, n, got); err != nil {
			t.Fatal(err)
		}
		for from := 0; from < m.Inputs; from += m.Block {
			block := w[n*m.Inputs+from:][:m.Block]
			scale, least, most := scaleOf(block, m.Bits)
			for i, v := range block {
				want := 0.0
				if math.Abs(scale) > 1e-38 { // of less, nothing is left
					code := math.Max(least, math.Min(most, math.Round(float64(v)/scale)))
					want = code * scale
				}
				// A scale is rounded to 11 bits; a value in the middle between two codes may go either way.
				allowed := math.Abs(want) * 0x1p-11
				off, between := math.Abs(float64(got[from+i])-want), math.Abs(float64(got[from+i]-v))
				if off > allowed && between > 0.5001*math.Abs(scale)+allowed {
					t.Fatalf("%+v, weight %d, %d is %g: got %g, want %g", m, n, from+i, v, got[from+i], want)
				}
			}
		}
	}
}

// scaleOf is the scale of a block, and the range of its codes less the zero point. That of 4 bits has the sign that gives the
// largest magnitude the code -8.
func scaleOf(block []float32, bits int) (scale, least, most float64) {
	var low, high float32
	for _, v := range block {
		low, high = min(low, v), max(high, v)
	}
	switch {
	case bits == 8:
		return float64(max(-low, high) / 127), -128, 127
	case high > -low:
		return float64(-high / 8), -8, 7
	}
	return float64(-low / 8), -8, 7
}

func TestPackFloatsErrors(t *testing.T) {
	m := cpu.Matrix{Outputs: 3, Inputs: 64, Block: 32, Bits: 4}
	w, into := values(3*64, 19), aligned(m.TileBytes())
	for _, v := range []float32{nan, inf, -inf} {
		for _, at := range []int{0, 70, 191} {
			was := w[at]
			w[at] = v
			if err := m.PackFloats(into, w, 64, 1); !errors.Is(err, cpu.ErrScale) {
				t.Errorf("%g at %d: got error %v, want %v", v, at, err, cpu.ErrScale)
			}
			w[at] = was
		}
	}
	for _, c := range []struct {
		m    cpu.Matrix
		n, k int
		w    []float32
	}{
		{m, 64, 1, w[:191]}, {m, 1, 3, w[:191]}, {m, 0, 1, w}, {m, 64, -1, w}, {m, math.MaxInt, 1, w}, {m, 1, math.MaxInt, w}, {m, 64, 1, nil},
		{cpu.Matrix{Outputs: 3, Inputs: 64, Block: 32, Bits: 4, Zeros: true}, 64, 1, w},
	} {
		if err := c.m.PackFloats(into, c.w, c.n, c.k); err == nil {
			t.Errorf("%+v, strides %d and %d, %d weights: got no error", c.m, c.n, c.k, len(c.w))
		}
	}
}

// Sizes that do not belong together are refused before C sees them; whatever is packed multiplies.
func FuzzPack(f *testing.F) {
	f.Add(3, 64, 32, 4, false, 96, 6, 0, 0, false)
	f.Add(17, 48, 16, 8, true, 816, 0, 51, 51, true)
	f.Fuzz(func(t *testing.T, outputs, inputs, block, bits int, zeros bool, codes, floats, halfs, points int, packed bool) {
		const most = 1 << 16
		for _, n := range []int{codes, floats, halfs, points} {
			if n < 0 || n > most {
				t.Skip("no such memory")
			}
		}
		m := cpu.Matrix{Outputs: outputs, Inputs: inputs, Block: block, Bits: bits, Zeros: zeros}
		c := cpu.Codes{Codes: make([]byte, codes), Scales: make([]float32, floats), Zeros: make([]byte, points), PackedZeros: packed}
		if halfs > 0 {
			c.Halves = make([]uint16, halfs)
		}
		room := 1 << 12
		if m.Check() == nil && outputs <= most && inputs <= most {
			room = min(m.Tiles()*m.TileBytes(), 1<<22)
		}
		into := aligned(room)
		if err := m.Pack(into, c); err != nil {
			return
		}
		l := &layer{Matrix: m, packed: into}
		if y := l.linear(t, values(2*inputs, 1), nil); len(y) != 2*outputs {
			t.Errorf("got %d results, want %d", len(y), 2*outputs)
		}
	})
}

func TestMatrixTiles(t *testing.T) {
	for _, c := range []struct {
		m           cpu.Matrix
		tiles, size int
	}{
		{cpu.Matrix{Outputs: 896, Inputs: 896, Block: 32, Bits: 4}, 56, 896*8 + 28*32 + 64},
		{cpu.Matrix{Outputs: 17, Inputs: 32, Block: 32, Bits: 4}, 2, 256 + 64 + 64},
		{cpu.Matrix{Outputs: 16, Inputs: 16, Block: 16, Bits: 8, Zeros: true}, 1, 256 + 64 + 64 + 64},
	} {
		if got := fmt.Sprint(c.m.Tiles(), c.m.TileBytes()); got != fmt.Sprint(c.tiles, c.size) {
			t.Errorf("%+v: got %s tiles and bytes, want %d, %d", c.m, got, c.tiles, c.size)
		}
	}
}
