// Package kv holds the keys and values of the tokens that a model has seen: Plan says how much memory they take and where each tensor lies,
// Cache binds a Plan to memory and to the runtime's values.
package kv

import (
	"fmt"
	"math/bits"
)

// Plan is the shape of a cache: pure arithmetic, checked before anything is allocated.
type Plan struct {
	Layers   int
	Heads    int // key and value heads
	HeadDim  int
	Capacity int  // tokens that each row can hold
	Rows     int  // sequences side by side
	Element  int  // bytes of one number
	Combined bool // one tensor of (2, rows, heads, length, head_dim) per layer instead of a key and a value
	Shared   bool // past and present are one tensor of full capacity, appended in place; otherwise two sets that take turns
}

// alignment of each tensor's start, in bytes.
const alignment = 64

// Tensors is the number of cache tensors that go into a run, and come out of it.
func (p Plan) Tensors() int {
	if p.Combined {
		return p.Layers
	}
	return 2 * p.Layers
}

// RowBytes is what one row of one tensor takes at full capacity: (heads, capacity, head_dim).
func (p Plan) RowBytes() (int, error) {
	return product(p.halves(), p.Heads, p.Capacity, p.HeadDim, p.Element)
}

// TensorBytes is the room of one tensor at full capacity, rounded up so that the next one starts aligned.
func (p Plan) TensorBytes() (int, error) {
	n, err := product(p.halves(), p.Rows, p.Heads, p.Capacity, p.HeadDim, p.Element)
	if err != nil {
		return 0, err
	}
	return (n + alignment - 1) &^ (alignment - 1), nil
}

// Bytes is the whole cache at full capacity. Memory that no token has touched is not resident.
func (p Plan) Bytes() (int, error) {
	one, err := p.TensorBytes()
	if err != nil {
		return 0, err
	}
	sets := 2
	if p.Shared {
		sets = 1
	}
	return product(sets, p.Tensors(), one)
}

// Shape is the shape of one tensor that holds length tokens for rows sequences.
func (p Plan) Shape(rows, length int) []int64 {
	shape := []int64{2, int64(rows), int64(p.Heads), int64(length), int64(p.HeadDim)}
	if p.Combined {
		return shape
	}
	return shape[1:]
}

func (p Plan) halves() int {
	if p.Combined {
		return 2
	}
	return 1
}

// Check refuses a plan that cannot be laid out, naming the number that is wrong.
func (p Plan) Check() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"layers", p.Layers}, {"key and value heads", p.Heads}, {"head size", p.HeadDim}, {"context", p.Capacity}, {"rows", p.Rows}, {"element bytes", p.Element}} {
		if f.value <= 0 {
			return fmt.Errorf("kv: plan the cache: %s is %d, expected a positive number", f.name, f.value)
		}
	}
	if p.Combined && p.Shared {
		return fmt.Errorf("kv: plan the cache: keys and values in one tensor cannot be appended in place")
	}
	_, err := p.Bytes()
	return err
}

// product multiplies sizes and refuses what does not fit an int.
func product(factors ...int) (int, error) {
	n := uint64(1)
	for _, f := range factors {
		hi, lo := bits.Mul64(n, uint64(f))
		if f < 0 || hi != 0 || lo > 1<<62 {
			return 0, fmt.Errorf("kv: plan the cache: the product of %v does not fit in memory", factors)
		}
		n = lo
	}
	return int(n), nil
}
