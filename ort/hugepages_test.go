package ort_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

// matmulGraph is out = in · w with w (n, n) of ones, float32: a weight that the runtime packs.
func matmulGraph(n int) []byte {
	return model(graph("matmul",
		[]message{node("MatMul", []string{"in", "w"}, []string{"out"})},
		[]message{weight("w", float32Type, strings.Repeat("\x00\x00\x80\x3f", n*n), int64(n), int64(n))},
		[]message{port("in", float32Type, "rows", n)}, []message{port("out", float32Type, "rows", n)}))
}

func TestHugePages(t *testing.T) {
	env := open(t)
	const n = 1024
	stat := func(key string) int {
		stats, err := env.AllocatorStats()
		if err != nil {
			t.Fatal(err)
		}
		value, err := strconv.Atoi(stats[key])
		if err != nil {
			t.Fatalf("%s in %v: %v", key, stats, err)
		}
		return value
	}
	for range 3 {
		s, err := env.OpenSessionBytes(matmulGraph(n), ort.SessionOptions{Threads: 1, HugePages: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := stat("InUse"); got < 4*n*n || stat("NumReserves") == 0 || stat("TotalAllocated") < got {
			t.Errorf("%d bytes in use, want the packed weight of %d among the reservations", got, 4*n*n)
		}
		c := call(t, s, []string{"in"}, []string{"out"})
		c.SetInput(0, tensor(t, env, ort.Float32, slices.Repeat([]float32{1}, 2*n), 2, n))
		for range 3 {
			if err := c.Run(nil); err != nil {
				t.Fatal(err)
			}
			out, err := c.Output(0)
			if err != nil {
				t.Fatal(err)
			}
			if got := ort.View[float32](out); got[0] != n || got[2*n-1] != n {
				t.Errorf("%v .. %v, want %d", got[0], got[2*n-1], n)
			}
			out.Close()
		}
		c.Close()
		s.Close()
		if stat("InUse") != 0 || stat("TotalAllocated") != 0 {
			t.Errorf("%d bytes in use and %d mapped after the last session", stat("InUse"), stat("TotalAllocated"))
		}
	}
}
