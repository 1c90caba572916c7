package cpu_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

func checkTopK(t *testing.T, what string, x []float32, k int) {
	t.Helper()
	wantIndex, wantValue, wantOK := topK(x, k)
	checkTopKAgainst(t, what, x, k, wantIndex, wantValue, wantOK)
}

func checkTopKAgainst(t *testing.T, what string, x []float32, k int, wantIndex []int32, wantValue []float32, wantOK bool) {
	t.Helper()
	index, indexWhole := fenced(k, 3, int32(-7))
	value, valueWhole := fenced(k, 5, float32(-7))
	n, ok := cpu.TopK(x, k, index, value)
	if n != len(wantIndex) || ok != wantOK {
		t.Fatalf("%s, k %d of %d: got %d values, %v; want %d, %v", what, k, len(x), n, ok, len(wantIndex), wantOK)
	}
	for i := range n {
		if index[i] != wantIndex[i] || value[i] != wantValue[i] {
			t.Fatalf("%s, k %d of %d: place %d: got %v at %d; want %v at %d",
				what, k, len(x), i, value[i], index[i], wantValue[i], wantIndex[i])
		}
	}
	for i, v := range indexWhole {
		if (i < 3 || i >= 3+n) && v != -7 {
			t.Fatalf("%s, k %d of %d: index %d was written, and only %d were found", what, k, len(x), i-3, n)
		}
	}
	for i, v := range valueWhole {
		if (i < 5 || i >= 5+n) && v != -7 {
			t.Fatalf("%s, k %d of %d: value %d was written, and only %d were found", what, k, len(x), i-5, n)
		}
	}
}

func TestTopKTable(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			x     []float32
			k     int
			index []int32
			ok    bool
		}{
			{"nil", nil, 3, nil, false},
			{"k 0", []float32{1}, 0, nil, true},
			{"k 0 of a bad row", []float32{1, nan}, 0, nil, false},
			{"negative k", []float32{1}, -4, nil, true},
			{"k beyond the row", []float32{1, 3, 2}, 9, []int32{1, 2, 0}, true},
			{"ties in order of index", []float32{5, 7, 5, 7, 5}, 4, []int32{1, 3, 0, 2}, true},
			{"zeros tie", []float32{-zero, zero, -zero}, 2, []int32{0, 1}, true},
			{"subnormals", []float32{denorm, 0, 2 * denorm, -denorm}, 3, []int32{2, 0, 1}, true},
			{"masked are not chosen", []float32{masked, 1, masked, 2}, 4, []int32{3, 1}, true},
			{"all masked", []float32{masked, masked}, 2, nil, false},
			{"NaN never wins", []float32{1, nan, 2, minus}, 3, []int32{2, 0}, false},
			{"+Inf never wins", []float32{1, inf, 2}, 3, []int32{2, 0}, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				index, value := make([]int32, 16), make([]float32, 16)
				n, ok := cpu.TopK(c.x, c.k, index, value)
				if !slices.Equal(index[:n], c.index) || ok != c.ok {
					t.Errorf("%v: got %v, %v; want %v, %v", c.x, index[:n], ok, c.index, c.ok)
				}
			})
		}
	})
}

func TestTopKWritesNoMoreThanThereIsRoomFor(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		x := []float32{1, 2, 3, 4, 5}
		for _, room := range [][2]int{{0, 5}, {5, 0}, {2, 5}, {5, 3}} {
			index, _ := fenced(room[0], 0, int32(-7))
			value, _ := fenced(room[1], 0, float32(-7))
			n, ok := cpu.TopK(x, 5, index, value)
			if want := min(room[0], room[1]); n != want || !ok {
				t.Errorf("room for %d and %d: got %d, %v; want %d, true", room[0], room[1], n, ok, want)
			}
		}
	})
}

// shapes are rows that a selection might trip over.
var shapes = []struct {
	name string
	fill func(x []float32)
}{
	{"normal", func(x []float32) { normal(x, uint64(len(x))) }},
	{"ties", func(x []float32) { seldom(x, uint64(len(x))) }},
	{"equal", func(x []float32) { fillWith(x, func(int) float32 { return -2 }) }},
	{"rising", func(x []float32) { fillWith(x, func(i int) float32 { return float32(i) }) }},
	{"falling", func(x []float32) { fillWith(x, func(i int) float32 { return float32(-i) }) }},
	{"subnormal", func(x []float32) { fillWith(x, func(i int) float32 { return denorm * float32(i*7919%201-100) }) }},
	{"huge", func(x []float32) { fillWith(x, func(i int) float32 { return 1e36 * float32(i*7919%601-300) }) }},
	{"all masked but each hundredth", func(x []float32) {
		fillWith(x, func(i int) float32 {
			if i%100 == 7 {
				return float32(i * 7919 % 1001)
			}
			return masked
		})
	}},
	{"peaks close together", func(x []float32) { // all of the best in very few groups
		fillWith(x, func(i int) float32 {
			if i%8192 < 3 || len(x)/2 <= i && i < len(x)/2+64 {
				return float32(100 + i%977)
			}
			return float32(i % 13)
		})
	}},
	{"NaN in the middle", func(x []float32) { normal(x, 9); x[len(x)/2] = nan }},
	{"NaN at the end", func(x []float32) { normal(x, 9); x[len(x)-1] = minus }},
	{"+Inf at the start", func(x []float32) { normal(x, 9); x[0] = inf }},
	{"all NaN", func(x []float32) { fillWith(x, func(int) float32 { return nan }) }},
	{"all masked", func(x []float32) { fillWith(x, func(int) float32 { return masked }) }},
}

func fillWith(x []float32, f func(i int) float32) {
	for i := range x {
		x[i] = f(i)
	}
}

func TestTopKShapes(t *testing.T) {
	long(t)
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			onEachRung(t, func(t *testing.T) {
				for n := 1; n < 258; n++ {
					x, _ := fenced(n, n%fence, inf)
					shape.fill(x)
					for _, k := range []int{1, 2, 7, 50, n, n + 1} {
						checkTopK(t, shape.name, x, k)
					}
				}
			})
		})
	}
}

func TestTopKLargeRows(t *testing.T) {
	long(t)
	ks := []int{1, 2, 20, 50, 64, 400, 1000, 2047, 2048, 2049, 5000}
	for _, n := range append([]int{2047, 2048, 8192, 8200}, large...) {
		for _, shape := range shapes {
			t.Run(fmt.Sprintf("%s of %d", shape.name, n), func(t *testing.T) {
				x, _ := fenced(n, 1, inf)
				shape.fill(x)
				wantIndex, wantValue, wantOK := topK(x, n)
				onEachRung(t, func(t *testing.T) {
					for _, k := range ks {
						found := min(k, len(wantIndex))
						checkTopKAgainst(t, shape.name, x, k, wantIndex[:found], wantValue[:found], wantOK)
					}
				})
			})
		}
	}
}

func TestTopKUnalignedStarts(t *testing.T) {
	for _, n := range []int{15, 64, 257, 4096, 32_000} {
		row := make([]float32, n)
		normal(row, uint64(n))
		wantIndex, wantValue, wantOK := topK(row, 50)
		onEachRung(t, func(t *testing.T) {
			for offset := range fence {
				x, _ := fenced(n, offset, inf)
				copy(x, row)
				checkTopKAgainst(t, "normal", x, 50, wantIndex, wantValue, wantOK)
			}
		})
	}
}

func TestTopKSpecialAtEachPlace(t *testing.T) {
	onEachRung(t, func(t *testing.T) {
		for _, n := range []int{1, 15, 16, 17, 63, 64, 65, 130, 257} {
			x, _ := fenced(n, n%fence, inf)
			normal(x, uint64(n))
			for i := range x {
				was := x[i]
				for _, v := range []float32{100, nan, minus, inf, masked} {
					x[i] = v
					checkTopK(t, "special", x, 5)
				}
				x[i] = was
			}
		}
	})
}
