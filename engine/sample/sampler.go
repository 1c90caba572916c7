package sample

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// ErrNumeric says that a row of logits holds a NaN or +Inf, nothing finite, or the same value everywhere: no token can be chosen from it.
var ErrNumeric = errors.New("sample: choose a token: the model gave logits that are not usable numbers")

// Logits is one row of (vocab), as float32 or as half-precision bits, or the largest of a row that lies elsewhere: exactly one of the three
// is set. It is read in place and never changed. -Inf is a masked token.
type Logits struct {
	F32 []float32
	F16 []uint16
	Top *Top
}

// Kernels are the loops over a row. Package cpu has fast ones and states their contract; Reference has plain ones.
type Kernels struct {
	Argmax    func(x []float32) (index int, ok bool)
	ArgmaxF16 func(x []uint16) (index int, ok bool)
	TopK      func(x []float32, k int, index []int32, value []float32) (n int, ok bool)
	Softmax   func(x []float32, scale float32)
}

// Sampler chooses the tokens of one sequence. It is not safe for concurrent use.
type Sampler struct {
	kernels Kernels
	vocab   int
	params  Params
	scale   float32 // 1 / temperature
	biases  []bias
	random  rand.PCG
	past    past

	row     []float32 // (vocab) the logits as the parameters change them, where they do; made at the first need
	prob    []float32 // (vocab) probabilities of all tokens; nil where top-k bounds the candidates
	ids     []int32   // (top-k) or (vocab) candidates
	weights []float32 // as long as ids; in the bounded path their probabilities
}

// New makes a sampler for one sequence; p was checked. Beyond what New allocates, the first Next may allocate one row, later ones nothing.
func New(p Params, vocab int, k Kernels) *Sampler {
	s := &Sampler{kernels: k, vocab: vocab, params: p, biases: p.biases()}
	s.random.Seed(p.Seed, 0)
	if p.RepetitionPenalty == 0 {
		s.params.RepetitionPenalty = 1
	}
	if s.penalised() {
		s.past = newPast(vocab)
	}
	if p.Temperature == 0 {
		return s
	}
	s.scale = p.Scale()
	if p.TopK > 0 && p.TopK < vocab {
		s.ids, s.weights = make([]int32, p.TopK), make([]float32, p.TopK)
		return s
	}
	s.prob = make([]float32, vocab)
	if p.TopP < 1 || p.MinP > 0 {
		s.ids, s.weights = make([]int32, vocab), make([]float32, min(vocab, bounded))
	}
	return s
}

// Prompt counts the tokens of the prompt for the repetition penalty.
func (s *Sampler) Prompt(ids []int32) {
	if s.params.RepetitionPenalty != 1 {
		for _, id := range ids {
			s.past.note(id)
		}
	}
}

// Next chooses the token that follows and counts it as output. The tokens in forbid cannot be chosen this time.
// ErrNumeric: nothing was chosen or drawn, and the sampler is as it was.
func (s *Sampler) Next(l Logits, forbid []int32) (id int32, err error) {
	if id, err = s.choose(l, forbid); err != nil {
		return -1, err
	}
	s.count(id)
	return id, nil
}

// count notes a token of the output.
func (s *Sampler) count(id int32) {
	if s.penalised() {
		s.past.note(id)
		s.past.output[id]++
	}
}

// choose is Next without the counting.
func (s *Sampler) choose(l Logits, forbid []int32) (int32, error) {
	if l.Top != nil {
		if id, ok := s.chooseTop(l.Top, forbid); ok {
			return id, nil
		}
		var err error
		if l, err = l.Top.Whole(); err != nil {
			return -1, err
		}
	}
	if n := len(l.F32) + len(l.F16); n != s.vocab || (l.F32 != nil && l.F16 != nil) {
		return -1, fmt.Errorf("sample: choose a token: expected one row of %d logits, found %d", s.vocab, n)
	}
	if flat(l.F32) || flat(l.F16) {
		return -1, fmt.Errorf("%w: all %d are equal", ErrNumeric, s.vocab)
	}
	switch {
	case s.params.Temperature == 0:
		return s.greedy(l, forbid)
	case s.prob == nil:
		return s.drawBounded(s.changed(l, forbid))
	}
	return s.drawAny(s.changed(l, forbid))
}

// flat reports whether all values are the same: a broken model, not a choice. Any other row is left at its first difference.
func flat[T float32 | uint16](x []T) bool {
	for i := range x {
		if x[i] != x[0] {
			return false
		}
	}
	return len(x) > 1
}

// greedy is the largest logit, read in place where no parameter changes it.
func (s *Sampler) greedy(l Logits, forbid []int32) (int32, error) {
	if !s.penalised() && len(s.biases) == 0 {
		best, ok := 0, false
		if l.F32 != nil {
			best, ok = s.kernels.Argmax(l.F32)
		} else {
			best, ok = s.kernels.ArgmaxF16(l.F16)
		}
		if !ok {
			return -1, ErrNumeric
		}
		if !slices.Contains(forbid, int32(best)) {
			return int32(best), nil
		}
	}
	best, ok := s.kernels.Argmax(s.changed(l, forbid))
	if !ok {
		return -1, ErrNumeric
	}
	return int32(best), nil
}

func (s *Sampler) penalised() bool {
	return s.params.RepetitionPenalty != 1 || s.params.PresencePenalty != 0 || s.params.FrequencyPenalty != 0
}

// changed is the row after bias, penalties and forbidden tokens: l itself where there is nothing to change.
func (s *Sampler) changed(l Logits, forbid []int32) []float32 {
	if l.F32 != nil && !s.penalised() && len(s.biases) == 0 && len(forbid) == 0 {
		return l.F32
	}
	if s.row == nil {
		s.row = make([]float32, s.vocab)
	}
	if l.F32 != nil {
		copy(s.row, l.F32)
	} else {
		widen(s.row, l.F16)
	}
	for _, b := range s.biases {
		s.row[b.id] += b.value
	}
	for _, id := range s.past.ids {
		s.row[id] = s.penalise(s.row[id], s.past.output[id])
	}
	for _, id := range forbid {
		if id >= 0 && int(id) < s.vocab {
			s.row[id] = float32(math.Inf(-1))
		}
	}
	return s.row
}

// penalise is the logit of a token that was seen, count times of these in the output.
func (s *Sampler) penalise(logit float32, count uint32) float32 {
	if logit < 0 {
		logit *= s.params.RepetitionPenalty
	} else {
		logit /= s.params.RepetitionPenalty
	}
	if count > 0 {
		logit -= float32(count)*s.params.FrequencyPenalty + s.params.PresencePenalty
	}
	return logit
}

// past is which tokens were seen, and how often in the output.
type past struct {
	ids    []int32 // each token that was seen, once; capacity (vocab)
	seen   []bool  // (vocab)
	output []uint32
}

func newPast(vocab int) past {
	return past{ids: make([]int32, 0, vocab), seen: make([]bool, vocab), output: make([]uint32, vocab)}
}

// note marks a token as seen; what is no token of the vocabulary is passed over.
func (p *past) note(id int32) {
	if id >= 0 && int(id) < len(p.seen) && !p.seen[id] {
		p.seen[id] = true
		p.ids = append(p.ids, id)
	}
}
