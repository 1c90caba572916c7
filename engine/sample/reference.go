package sample

import (
	"math"
	"slices"
)

// Reference gives plain kernels in Go with the contract of package cpu: its oracle, and what runs where there is no C.
func Reference() Kernels {
	return Kernels{Argmax: argmax, ArgmaxF16: argmaxF16, TopK: topK, Softmax: softmax}
}

func argmax(x []float32) (index int, ok bool) {
	return argmaxOf(x, func(f float32) float32 { return f })
}

func argmaxF16(x []uint16) (index int, ok bool) { return argmaxOf(x, fromHalf) }

func argmaxOf[T float32 | uint16](x []T, value func(T) float32) (index int, ok bool) {
	best, index, clean := float32(math.Inf(-1)), -1, true
	for i := range x {
		v := value(x[i])
		if !(v <= math.MaxFloat32) { // NaN or +Inf
			clean = false
		} else if v > best {
			best, index = v, i
		}
	}
	return index, clean && index >= 0
}

// topK sorts every finite value: slow, and plainly right.
func topK(x []float32, k int, index []int32, value []float32) (n int, ok bool) {
	_, ok = argmax(x)
	ids := make([]int32, 0, len(x))
	for i, v := range x {
		if math.Abs(float64(v)) <= math.MaxFloat32 {
			ids = append(ids, int32(i))
		}
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return 0
	})
	n = max(0, min(k, len(ids), len(index), len(value)))
	for i, id := range ids[:n] {
		index[i], value[i] = id, x[id]
	}
	return n, ok
}

func softmax(x []float32, scale float32) {
	best, ok := argmax(x)
	if !ok || !(scale > 0) {
		for i := range x {
			x[i] = float32(math.NaN())
		}
		return
	}
	const least = 0x1p-126 // of the largest; less counts as nothing
	largest, sum := x[best], 0.0
	exp := func(v float32) float64 {
		if v == largest {
			return 1 // an infinite scale too
		}
		if e := math.Exp(float64((v - largest) * scale)); e >= least {
			return e
		}
		return 0
	}
	for _, v := range x {
		sum += exp(v)
	}
	for i, v := range x {
		x[i] = float32(exp(v) / sum)
	}
}
