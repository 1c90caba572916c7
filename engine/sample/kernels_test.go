package sample_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/sample"
)

// The kernels that the engine uses, against those of Reference; and what a token costs with them.

func native() sample.Kernels {
	return sample.Kernels{Argmax: cpu.Argmax, ArgmaxF16: cpu.ArgmaxF16, TopK: cpu.TopK, Softmax: cpu.Softmax}
}

func row(seed uint64, n int, spread float64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	row := make([]float32, n)
	for i := range row {
		row[i] = float32(r.NormFloat64() * spread)
	}
	return row
}

func TestReference(t *testing.T) {
	plain, fast := sample.Reference(), native()
	bad := func(at int, v float64) []float32 {
		x := row(3, 100, 2)
		x[at] = float32(v)
		return x
	}
	for i, x := range [][]float32{
		{}, {1}, {2, 2, 2}, row(1, 1000, 3), row(2, 4096, 0.01), bad(0, math.NaN()), bad(99, math.NaN()), bad(50, math.Inf(1)), bad(50, math.Inf(-1)),
		{float32(math.Inf(-1)), float32(math.Inf(-1))}, {float32(math.Inf(1))}, {0, float32(math.Copysign(0, -1))},
	} {
		a, okA := plain.Argmax(x)
		b, okB := fast.Argmax(x)
		if a != b || okA != okB {
			t.Errorf("argmax of row %d: reference %d %v, native %d %v", i, a, okA, b, okB)
		}
		for _, k := range []int{0, 1, 5, 2000, 5000} {
			idA, idB, valueA, valueB := make([]int32, k), make([]int32, k), make([]float32, k), make([]float32, k)
			n, okA := plain.TopK(x, k, idA, valueA)
			m, okB := fast.TopK(x, k, idB, valueB)
			if n != m || okA != okB || !slices.Equal(idA[:n], idB[:m]) || !slices.Equal(valueA[:n], valueB[:m]) {
				t.Errorf("top %d of row %d: reference %d %v, native %d %v, or what they wrote", k, i, n, okA, m, okB)
			}
		}
		for _, scale := range []float32{1, 3, 0.1, float32(math.Inf(1)), 0, -1, float32(math.NaN())} {
			a, b := slices.Clone(x), slices.Clone(x)
			plain.Softmax(a, scale)
			fast.Softmax(b, scale)
			for j := range a {
				if d := math.Abs(float64(a[j] - b[j])); d > 4e-7*float64(a[j]) || (a[j] != a[j]) != (b[j] != b[j]) {
					t.Fatalf("softmax of row %d at %d with scale %v: reference %v, native %v", i, j, scale, a[j], b[j])
				}
			}
		}
	}
}

func params() map[string]sample.Params {
	return map[string]sample.Params{
		"greedy":           {},
		"greedy-penalties": {RepetitionPenalty: 1.1},
		"top-k-50":         {Temperature: 0.8, TopP: 1, TopK: 50},
		"top-k-top-p":      {Temperature: 0.8, TopP: 0.95, TopK: 50},
		"top-p-0.95":       {Temperature: 0.8, TopP: 0.95},
		"top-p-0.95-flat":  {Temperature: 5, TopP: 0.95},
		"min-p-0.05":       {Temperature: 0.8, TopP: 1, MinP: 0.05},
		"temperature":      {Temperature: 0.8, TopP: 1},
	}
}

// TestSameTokens: what the kernels round differently does not show.
func TestSameTokens(t *testing.T) {
	for name, p := range params() {
		p.Seed = 9
		a, b := sample.New(p, 3000, sample.Reference()), sample.New(p, 3000, native())
		for i := range 100 {
			x := sample.Logits{F32: row(uint64(i), 3000, 3)}
			want, errA := a.Next(x, nil)
			got, errB := b.Next(x, nil)
			if got != want || errA != nil || errB != nil {
				t.Fatalf("%s, step %d: native gives %d (%v), reference %d (%v)", name, i, got, errB, want, errA)
			}
		}
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	x := row(1, 32000, 2)
	for name, p := range params() {
		s := sample.New(p, len(x), native())
		forbid := []int32{7}
		next := func() {
			if _, err := s.Next(sample.Logits{F32: x}, forbid); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(20, next); n != 0 { // runs once before it counts
			t.Errorf("%s: %v allocations per token", name, n)
		}
	}
}

// likely is a row as language models give it: most of the probability is on a few dozen tokens.
func likely(n int) []float32 {
	x := row(1, n, 0.5)
	for i, rank := range rand.New(rand.NewPCG(2, 2)).Perm(n) {
		x[i] += float32(20 - 2*math.Log(float64(rank+1)))
	}
	return x
}

func BenchmarkNext(b *testing.B) {
	x := likely(151936)
	for name, p := range params() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := sample.New(p, len(x), native())
			for b.Loop() {
				if _, err := s.Next(sample.Logits{F32: x}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
