package cpu_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/cpu"
)

const vocab = 151_936 // Qwen2.5's

// argmaxLoop is what one would write in Go: the measure of the kernels, with the same check for NaN and +Inf.
func argmaxLoop(x []float32) (index int, ok bool) {
	best := float32(math.Inf(-1))
	index, ok = -1, true
	for i, v := range x {
		if v > best {
			best, index = v, i
		}
		if !(v <= math.MaxFloat32) {
			ok = false
		}
	}
	return index, ok && index >= 0
}

// bench runs f on each rung. Beside the mean it reports the best run, which says what the code can do on a machine that does
// other work too: its bytes per second, and how many times as fast as the best run of loop it is.
func bench(b *testing.B, bytes int64, loop, f func()) {
	for _, rung := range cpu.Rungs() {
		b.Run(rung, func(b *testing.B) {
			was := cpu.Rung()
			setRung(b, rung)
			defer setRung(b, was)
			inGo := time.Duration(math.MaxInt64)
			for range 200 {
				inGo = min(inGo, timed(loop))
			}
			best := time.Duration(math.MaxInt64)
			b.ReportAllocs()
			for b.Loop() {
				best = min(best, timed(f))
			}
			b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
			b.ReportMetric(float64(bytes)/float64(best.Nanoseconds()), "GB/s")
			b.ReportMetric(float64(inGo)/float64(best), "x-Go-loop")
		})
	}
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func BenchmarkArgmax(b *testing.B) {
	x := make([]float32, vocab)
	normal(x, 1)
	bench(b, 4*vocab, func() { argmaxLoop(x) }, func() { cpu.Argmax(x) })
}

func BenchmarkArgmaxF16(b *testing.B) {
	x, h := make([]float32, vocab), make([]uint16, vocab)
	normal(x, 1)
	for i := range h {
		h[i] = uint16(i*7919) & 0xbfff // finite, of both signs
	}
	bench(b, 2*vocab, func() { argmaxLoop(x) }, func() { cpu.ArgmaxF16(h) })
}

func BenchmarkTopK(b *testing.B) {
	x := make([]float32, vocab)
	index, value := make([]int32, 1000), make([]float32, 1000)
	for _, k := range []int{1, 50, 400, 1000} {
		b.Run(fmt.Sprint(k), func(b *testing.B) {
			normal(x, 1)
			bench(b, 4*vocab, func() { argmaxLoop(x) }, func() { cpu.TopK(x, k, index, value) })
		})
	}
	b.Run("50-rising", func(b *testing.B) {
		fillWith(x, func(i int) float32 { return float32(i) })
		bench(b, 4*vocab, func() { argmaxLoop(x) }, func() { cpu.TopK(x, 50, index, value) })
	})
}

func BenchmarkSoftmax(b *testing.B) {
	for _, n := range []int{50, vocab} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, work := make([]float32, n), make([]float32, n)
			normal(x, 1)
			inGo := func() {
				for i, v := range x {
					work[i] = float32(math.Exp(float64(v - 20)))
				}
			}
			bench(b, int64(4*n), inGo, func() {
				copy(work, x)
				cpu.Softmax(work, 1)
			})
		})
	}
}

// bestOf reports what f did in its best run: so many multiplications, and bytes.
func bestOf(b *testing.B, products, bytes int64, f func()) {
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		best = min(best, timed(f))
	}
	b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
	b.ReportMetric(float64(bytes)/float64(best.Nanoseconds()), "GB/s")
	if products > 0 {
		b.ReportMetric(float64(products)/float64(best.Nanoseconds()), "GMAC/s")
	}
}

// A layer of a model of 0.5 billion weights on one thread. Its 2.5 MB stay in the caches, so this is what the kernels can do where
// memory does not hold them.
func BenchmarkLinear(b *testing.B) {
	l := newLayer(b, cpu.Matrix{Outputs: 4864, Inputs: 896, Block: 32, Bits: 4}, noZeros, scales{0.02, true}, 1)
	for _, rows := range []int{1, 4, 8, 16, 96} {
		a, err := cpu.Quantise(values(rows*l.Inputs, 2), l.Inputs, 32)
		if err != nil {
			b.Fatal(err)
		}
		y := make([]float32, rows*l.Outputs)
		for _, rung := range cpu.Rungs() {
			b.Run(fmt.Sprintf("%d/%s", rows, rung), func(b *testing.B) {
				defer setRung(b, cpu.Rung())
				setRung(b, rung)
				bestOf(b, int64(rows*l.Outputs*l.Inputs), int64(len(l.packed)), func() {
					if err := l.Linear(l.packed, a, l.Whole(a), nil, y); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, zeros := range []int{noZeros, packedZeros} {
		l := newLayer(b, cpu.Matrix{Outputs: 8960, Inputs: 1536, Block: 32, Bits: 4}, zeros, scales{0.02, false}, 1)
		for _, rung := range cpu.Rungs() {
			b.Run(fmt.Sprintf("%d/%s", zeros, rung), func(b *testing.B) {
				defer setRung(b, cpu.Rung())
				setRung(b, rung)
				bestOf(b, 0, int64(len(l.codes.Codes)), func() {
					if err := l.Pack(l.packed, l.codes); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

func BenchmarkPackFloats(b *testing.B) {
	m := cpu.Matrix{Outputs: 4096, Inputs: 1024, Block: 32, Bits: 4}
	w, into := values(m.Outputs*m.Inputs, 3), aligned(m.Tiles()*m.TileBytes())
	for name, strides := range map[string][2]int{"rows": {m.Inputs, 1}, "columns": {1, m.Outputs}} {
		b.Run(name, func(b *testing.B) {
			bestOf(b, 0, int64(4*len(w)), func() {
				if err := m.PackFloats(into, w, strides[0], strides[1]); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}
