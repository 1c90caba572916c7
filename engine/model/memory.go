package model

import (
	"fmt"
	"math"
	"math/bits"
)

// Estimate is the memory that a model takes, in bytes, by what takes it.
type Estimate struct {
	Weights  int64 // the graph and its data, as they lie on disk
	Prepack  int64 // the copies that the runtime's kernels make of them
	KV       int64 // the cache for the context asked for
	Logits   int64 // one row for each token of a prefill chunk, unless the graph gives the last row only
	Overhead int64 // the runtime, the tokenizer and this program
}

// Total is the sum of all parts.
func (e Estimate) Total() int64 { return e.Weights + e.Prepack + e.KV + e.Logits + e.Overhead }

const (
	overheadBytes = 300 << 20
	chunkTokens   = 512 // a prefill chunk as the estimate assumes it
)

// KVBytes is the size of the keys and values of context tokens of one sequence.
func (s *Spec) KVBytes(context int) (int64, error) {
	if len(s.Past) == 0 {
		return 0, nil
	}
	size := int64(4)
	if s.KVType == "float16" {
		size = 2
	}
	n, ok := product(2, int64(s.Layers), int64(s.KVHeads), int64(s.HeadDim), int64(context), size)
	if !ok {
		return 0, fmt.Errorf("model: size the cache: %w: 2 x %d layers x %d heads x %d x %d tokens x %d bytes overflows",
			ErrContract, s.Layers, s.KVHeads, s.HeadDim, context, size)
	}
	return n, nil
}

// MemoryEstimate says what one sequence of context tokens needs on the CPU.
func (s *Spec) MemoryEstimate(context int) (Estimate, error) {
	kv, err := s.KVBytes(context)
	if err != nil {
		return Estimate{}, err
	}
	if !s.Shared { // past and present are two sets
		var ok bool
		if kv, ok = product(kv, 2); !ok {
			return Estimate{}, fmt.Errorf("model: size the cache: %w: two sets of %d tokens overflow", ErrContract, context)
		}
	}
	e := Estimate{Weights: s.Bytes, Prepack: s.Bytes, KV: kv, Overhead: overheadBytes}
	if !s.LastRowOnly {
		rows := min(context, chunkTokens)
		if len(s.Past) == 0 {
			rows = context // every run starts from the first token
		}
		size := int64(4)
		if s.LogitsType == "float16" {
			size = 2
		}
		e.Logits = int64(rows) * int64(s.Vocab) * size
	}
	for sum, parts := int64(0), []int64{e.Weights, e.Prepack, e.KV, e.Logits, e.Overhead}; len(parts) > 0; parts = parts[1:] {
		if parts[0] > math.MaxInt64-sum {
			return Estimate{}, fmt.Errorf("model: estimate memory: %w: the sum for %d tokens overflows", ErrContract, context)
		}
		sum += parts[0]
	}
	return e, nil
}

// product multiplies numbers that are not negative, and says whether the result fits.
func product(factors ...int64) (int64, bool) {
	n := uint64(1)
	for _, f := range factors {
		if f < 0 {
			return 0, false
		}
		high, low := bits.Mul64(n, uint64(f))
		if high != 0 || low > math.MaxInt64 {
			return 0, false
		}
		n = low
	}
	return int64(n), true
}
