package model

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Estimate is the memory that a model takes at most, in bytes, by what takes it.
type Estimate struct {
	Weights  int64 // those that are used as they lie in the files
	Prepack  int64 // the others, in the form that the runtime's kernels make of them
	KV       int64 // the cache for the context asked for
	Logits   int64 // one row for each token of a prefill chunk, unless the graph gives the last row only
	Overhead int64 // the runtime, the tokenizer and this program
}

// Total is the sum of all parts.
func (e Estimate) Total() int64 { return e.Weights + e.Prepack + e.KV + e.Logits + e.Overhead }

const (
	overheadBytes = 300 << 20
	// A prefill chunk's logits take at most so much, or 32 rows: longer chunks are for graphs that give the last row only.
	logitsBytes = 128 << 20
	logitsRows  = 32
)

// How a weight is used.
const lookedUp, blocks, other = 1, 2, 4

// uses says of each tensor how nodes use it.
func uses(g *onnx.Graph) map[string]int {
	use := map[string]int{}
	walk(g, func(n *onnx.Node, _ bool) {
		how := other
		switch n.Op {
		case "Gather", "GatherBlockQuantized", "Reshape", "Identity":
			how = lookedUp
		case "MatMulNBits":
			how = blocks
		}
		for _, in := range n.Inputs {
			use[in] |= how
		}
	})
	return use
}

// StepBytes is the bytes of the graph's weights that computing one token reads: all but tables, of which it takes a row.
func StepBytes(g *onnx.Graph) (bytes int64) {
	use := uses(g)
	for i := range g.Initializers {
		t := &g.Initializers[i]
		if size, err := t.Size(); err == nil && size > 0 && size <= 1<<50 && use[t.Name]&(blocks|other) != 0 {
			bytes += size
		}
	}
	return bytes
}

// weights says how much memory the graph's weights take on the CPU: kept as they are (tables that are only looked up), and
// packed for the matrix kernels. Measured with ONNX Runtime 1.32.0 on Qwen2.5-0.5B and SmolLM2-135M: int4 weights with
// their scales take 1.41 to 1.46 times their bytes, float32 ones as many as before, and the largest is there twice for a
// moment; the mapped originals of packed weights are given back.
func weights(g *onnx.Graph) (kept, packed int64) {
	use := uses(g)
	var largest int64
	for i := range g.Initializers {
		t := &g.Initializers[i]
		size, err := t.Size()
		if err != nil || size < 0 || size > 1<<50 {
			continue // the runtime refuses what has such a tensor
		}
		if t.External == nil {
			kept += size // the file is parsed on the heap
		}
		if use[t.Name]&lookedUp != 0 && use[t.Name]&other == 0 {
			kept += size
		}
		if use[t.Name] != lookedUp {
			largest = max(largest, size)
		}
		switch {
		case use[t.Name]&blocks != 0:
			packed += size + size/2
		case use[t.Name]&other != 0 && t.Type == onnx.Float16:
			packed += 2 * size // computed in float32
		case use[t.Name]&other != 0:
			packed += size
		}
	}
	return kept, packed + largest
}

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
	e := Estimate{Weights: s.kept, Prepack: s.packed, KV: kv, Overhead: overheadBytes}
	row := int64(s.Vocab) * 4
	switch {
	case len(s.Past) == 0: // every run starts from the first token
		e.Logits = row * int64(context)
	case s.LastRowOnly || s.NumLogits != "" || s.LogitsRows != "":
		e.Logits = row
	default:
		e.Logits = min(row*int64(context), max(row*logitsRows, logitsBytes))
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
