package model

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/shammah/shammah-engine/internal/onnx"
)

// Estimate is the memory that a model takes at most, in bytes, by what takes it.
type Estimate struct {
	Weights   int64 // those that are used as they lie in the files
	Prepack   int64 // the others, in the form that the kernels make of them
	KV        int64 // the cache for the tokens asked for
	Logits    int64 // one row for each token of a prefill chunk, unless the graph gives the last row only
	Scratch   int64 // what a chunk's values take between nodes
	Tokenizer int64
	Overhead  int64 // the runtime, the graph's nodes and this program
	Loading   int64 // beside the weights for a moment, while the model is opened
	Device    int64 // in the memory of the device that computes, and so in none of the others
}

// Total is the most that is taken of this machine's own memory at one time: what stays, and the larger of what opening and running take.
func (e Estimate) Total() int64 {
	return e.Weights + e.Prepack + e.Tokenizer + e.Overhead + max(e.Loading, e.KV+e.Logits+e.Scratch)
}

// CompareTokens is the context of the original when it is opened at a model's first use, before anything else, to compare our kernels with it.
const CompareTokens = 64

// Use is what a model is opened for.
type Use struct {
	Context int  // tokens that a sequence may hold
	Tokens  int  // those that it will hold at most; 0 is all of the context
	Prompt  int  // the longest that is read at once; 0 is as many as Tokens
	Text    bool // with its tokenizer
	Exact   bool // the runtime's kernels with activations in float32
	Device  bool // a device computes, in memory of its own

	Rows      int // sequences of a batch beside that one; 0 is none
	RowTokens int // those that each of them will hold at most
}

// Weights is what a graph's weights take, in bytes.
type Weights struct {
	Kept     int64 // as they are, and what was mapped and stays
	Packed   int64 // in the kernels' own form
	Sums     int64 // of blocks, beside that: where activations are quantised in the runtime
	Table    int64 // tables in files that are mapped: of these, pages around the rows that a chunk looks up
	PerToken int64 // of the context: tables by position
	Largest  int64 // there twice for a moment
	Files    int64 // all, as they lie in the files
	Inline   int64 // of these, what the graph's own file holds
	Nodes    int64 // what the graph takes without its weights
	Own      bool  // package cpu's kernels compute
}

// Measured with ONNX Runtime 1.32.0 on Linux, see TestEstimateIsThePeak in cmd/shammah-engine.
const (
	overheadBytes  = 72 << 20 // library and environment 27, the first session 16, the program itself 29
	runtimeBytes   = 6 << 20  // of the library more where its own kernels compute
	textBytes      = 7 << 20  // code and data of the tokenizer and of templates
	tokenizerTimes = 6        // a tokenizer takes so many times the bytes of tokenizer.json
	nodeBytes      = 7 << 10  // of a node in the runtime; our kernels leave it few, but the graph is read
	rowPages       = 64 << 10 // of a mapped file come with each row: Linux brings the pages around
	// A prefill chunk's logits take at most so much, or 32 rows: longer chunks are for graphs that give the last row only.
	logitsBytes = 128 << 20
	logitsRows  = 32
	chunkMost   = 512
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

// weights says how much memory the graph's weights take in the runtime, on the CPU. Quantised matrices are packed with their scales and a sum of
// each block, and the file's own scales stay mapped; what is looked up too is copied. Float matrices are packed once; float16 becomes float32.
// The mapped originals of packed weights are given back, the largest is there twice for a moment.
func weights(g *onnx.Graph) (w Weights) {
	use := uses(g)
	walk(g, func(*onnx.Node, bool) { w.Nodes += nodeBytes })
	for i := range g.Initializers {
		t := &g.Initializers[i]
		size, err := t.Size()
		if err != nil || size < 0 || size > 1<<50 {
			continue // the runtime refuses what has such a tensor
		}
		how := use[t.Name]
		w.Files += size
		if t.External == nil {
			w.Inline += size
		}
		if how != lookedUp {
			w.Largest = max(w.Largest, size)
		}
		switch {
		case t.External == nil:
			w.Kept += size // the file is parsed on the heap
		case how == lookedUp:
			w.Table += size
		case how&lookedUp != 0 && how&other == 0:
			w.Kept += size
		}
		switch {
		case how&blocks != 0 && t.Type == onnx.Float32:
			w.Packed += size
			w.Sums += size
			w.Kept += size
		case how&other != 0 && t.Type == onnx.Float16:
			w.Packed += 2 * size
		case how&(blocks|other) != 0:
			w.Packed += size
		}
	}
	return w
}

// width is the largest matrix dimension of a layer: of the weights that a product reads, the language head aside.
func width(g *onnx.Graph, vocab int) (widest int64) {
	matrix := map[string]bool{}
	walk(g, func(n *onnx.Node, _ bool) {
		switch n.Op {
		case "MatMulNBits":
			for _, name := range []string{"K", "N"} {
				if a := n.Attribute(name); a != nil && a.Int != int64(vocab) && a.Int < 1<<24 {
					widest = max(widest, a.Int)
				}
			}
		case "MatMul", "Gemm":
			for _, in := range n.Inputs {
				matrix[in] = true
			}
		}
	})
	for i := range g.Initializers {
		if t := &g.Initializers[i]; matrix[t.Name] && len(t.Dims) == 2 {
			for _, d := range t.Dims {
				if d != int64(vocab) && d < 1<<24 {
					widest = max(widest, d)
				}
			}
		}
	}
	return widest
}

// ChunkTokens is the length of one prefill run: long enough that weights are read rarely, short enough that it can be cancelled
// and that the logits of all its tokens, where the graph makes them, stay small.
func (s *Spec) ChunkTokens() int {
	if s.oneRow() {
		return chunkMost
	}
	size := 4
	if s.LogitsType == "float16" {
		size = 2
	}
	return max(logitsRows, min(chunkMost, logitsBytes/(max(s.Vocab, 1)*size)&^(logitsRows-1)))
}

// oneRow says whether a run gives the logits of no more tokens than are needed.
func (s *Spec) oneRow() bool { return s.LastRowOnly || s.NumLogits != "" || s.LogitsRows != "" }

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

// MemoryEstimate says what one sequence and a batch need on the CPU, or of a device's memory and of this machine's beside it.
func (s *Spec) MemoryEstimate(u Use) (Estimate, error) {
	tokens := u.Context
	if u.Tokens > 0 {
		tokens = min(tokens, u.Tokens)
	}
	longest := tokens
	if u.Rows > 0 {
		longest = max(longest, min(u.Context, u.RowTokens))
	}
	chunk := min(s.ChunkTokens(), longest)
	if u.Prompt > 0 {
		chunk = min(chunk, u.Prompt)
	}
	if len(s.Past) == 0 { // every run starts from the first token
		chunk = longest
	}
	looked := int64(chunk) // where nobody says how many tokens there will be: the system takes pages of a file back before it is short of memory
	if u.Tokens > 0 {
		looked = int64(tokens) + times(int64(u.Rows), int64(min(u.Context, u.RowTokens)))
	}
	kv, err := s.KVBytes(tokens)
	if err != nil {
		return Estimate{}, err
	}
	rowKV, err := s.KVBytes(min(u.Context, u.RowTokens))
	if err != nil {
		return Estimate{}, err
	}
	if s.Shared {
		kv += times(rowKV, int64(u.Rows))
	} else { // past and present are two sets, and the prompts of a batch are computed in one row more
		kv = times(kv+times(rowKV, int64(u.Rows+min(u.Rows, 1))), 2)
	}
	w := s.weights
	e := Estimate{
		Weights: min(w.Kept, partMost) + times(w.PerToken, int64(u.Context)), Prepack: min(w.Packed, partMost), KV: kv,
		Scratch:  times(s.tokenBytes(longest), int64(chunk)) + touched(w.Table, looked),
		Overhead: overheadBytes + w.Nodes, Loading: min(w.Largest, partMost),
	}
	rows := chunk
	if s.oneRow() {
		rows = 1
	}
	e.Logits = times(int64(s.Vocab), 4, int64(rows+2*u.Rows)) // of each row of a batch those of its prompt, and of its last token
	if !w.Own {
		e.Overhead += runtimeBytes
	}
	if u.Exact { // the scales go into the packed form, the file's own are given back, and nothing is there twice
		e.Loading = 0
		e.Weights -= min(w.Sums, e.Weights)
	} else {
		e.Prepack += min(w.Sums, partMost)
	}
	if u.Text {
		e.Tokenizer = textBytes + times(tokenizerTimes, s.tokenizerBytes)
		e.Loading += s.tokenizerBytes
	}
	if u.Device {
		if e, err = s.onDevice(e, u); err != nil {
			return Estimate{}, err
		}
	}
	if slices.Max([]int64{e.Device, e.Weights, e.Prepack, e.KV, e.Logits, e.Scratch, e.Tokenizer, e.Loading}) >= partMost {
		return Estimate{}, fmt.Errorf("model: estimate memory: %w: the sum for %d tokens overflows", ErrContract, u.Context)
	}
	return e, nil
}

// touched is how much of a mapped table is resident after so many of its rows were looked up at random.
func touched(table, rows int64) int64 {
	if table <= 0 {
		return 0
	}
	return int64(float64(table) * -math.Expm1(-float64(rows)*rowPages/float64(table)))
}

// onDevice moves to the device what lies there: the weights as they are in the files, a shared cache, which is allocated whole, and what a
// chunk computes. Other caches go back and forth. Here the weights pass through, a graph that holds its own twice: as it was written anew,
// and parsed. A shared cache passes through a tensor at a time, on both sides; that of a batch is here, whole, while its prompts are
// computed, of which the past and the present of one are there. What a driver takes for itself is not known, on either side.
func (s *Spec) onDevice(e Estimate, u Use) (Estimate, error) {
	kv, err := s.KVBytes(u.Context)
	if err != nil {
		return e, err
	}
	if s.Shared {
		tensor := kv / int64(2*max(s.Layers, 1))
		batch := times(kv, int64(u.Rows))
		e.KV = max(batch, tensor)
		kv += batch + max(times(kv, int64(2*min(u.Rows, 1))), tensor)
	} else {
		kv = e.KV
	}
	e.Device = min(min(s.weights.Files, partMost)+kv+e.Logits+e.Scratch, partMost)
	e.Weights, e.Prepack, e.Scratch = 0, 0, 0
	e.Loading += min(s.weights.Largest, partMost) + times(2, s.weights.Inline)
	return e, nil
}

// tokenBytes is what the values of one token take while a chunk runs: the residual stream, its norm, and the widest layer; quantised, it is
// there once more. The runtime keeps gate and up apart; where it has attention in plain nodes, each token has a row of scores for each head.
func (s *Spec) tokenBytes(tokens int) int64 {
	const float = 4
	hidden, wide := int64(max(s.Hidden, s.Heads*s.HeadDim)), s.width
	if s.weights.Own {
		return float*(3*hidden+wide) + 8*wide/5
	}
	n := float*(3*hidden+2*wide) + 8*wide/5
	if !s.Shared {
		n += times(2*float, int64(s.Heads), int64(tokens))
	}
	return n
}

// partMost is above every part of an estimate, so that sums do not overflow.
const partMost = math.MaxInt64 / 32

// times multiplies sizes that are not negative; what is above partMost is that.
func times(factors ...int64) int64 {
	n, ok := product(factors...)
	if !ok {
		return partMost
	}
	return min(n, partMost)
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
