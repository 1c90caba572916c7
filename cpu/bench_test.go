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
