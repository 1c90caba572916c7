package sample

import (
	"cmp"
	"math"
	"slices"
)

// Top is the largest logits of a row that lies where it was computed, such as in a GPU's memory: where they are enough, the row stays there.
// It belongs to whoever gives it, but the sampler may put equal logits in order.
type Top struct {
	IDs    []int32
	Logits []float32 // of IDs, largest first
	Probs  []float32 // of IDs, among all tokens: of the logits times Scale
	Scale  float32   // as Params.Scale gives it
	Whole  func() (Logits, error)
}

// Scale is what the logits are multiplied by: 1 / temperature, and 1 where that is 0 and means nothing.
func (p Params) Scale() float32 {
	if p.Temperature == 0 {
		return 1
	}
	return min(1/p.Temperature, 1e30) // finite: an infinite one has no product with 0
}

// Few says whether tokens can mostly be chosen from the k largest logits: nothing changes the others, and a top-k, top-p or min-p leaves few.
func (p Params) Few(k int) bool {
	if p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 || p.PresencePenalty != 0 || p.FrequencyPenalty != 0 || len(p.LogitBias) > 0 {
		return false
	}
	return p.Temperature == 0 || p.TopK > 0 && p.TopK < k || p.TopK == 0 && (p.TopP < 1 || p.MinP > 0)
}

// chooseTop chooses from the largest logits what choose would from the whole row. ok is false where they are not enough: a parameter wants
// more, or a numeric fault shows, which the whole row is asked about. Then nothing was drawn.
func (s *Sampler) chooseTop(t *Top, forbid []int32) (id int32, ok bool) {
	n := s.known(t)
	if n == 0 || len(forbid) > 0 || s.penalised() || len(s.biases) > 0 {
		return -1, false
	}
	switch {
	case s.params.Temperature == 0:
		return t.IDs[0], true
	case s.prob == nil:
		if n < len(s.ids) {
			return -1, false
		}
		n = len(s.ids)
		copy(s.weights, t.Logits)
		return s.drawAmong(t.IDs[:n], s.weights[:n]), true
	case s.ids == nil || t.Scale != s.scale:
		return -1, false
	}
	least, sum := s.params.MinP*t.Probs[0], 0.0
	for keep, p := range t.Probs[:n] {
		if s.full(sum) || p < least {
			return t.IDs[s.pick(sum, t.Probs[:keep])], true
		}
		sum += float64(p)
	}
	if s.full(sum) {
		return t.IDs[s.pick(sum, t.Probs[:n])], true
	}
	return -1, false
}

// known is how many of the largest logits are beyond doubt, and puts them in the order of the package: of those that equal the smallest,
// others may be missing, and a NaN or infinity anywhere in the row shows in the probabilities or is the largest.
func (s *Sampler) known(t *Top) int {
	n := len(t.IDs)
	if n == 0 || len(t.Logits) != n || len(t.Probs) != n || !(t.Probs[0] > 0 && t.Probs[0] <= 1) || math.Abs(float64(t.Logits[0])) > math.MaxFloat32 {
		return 0
	}
	for n > 0 && !(t.Logits[n-1] > t.Logits[len(t.Logits)-1]) {
		n--
	}
	for i, id := range t.IDs[:n] {
		if id < 0 || int(id) >= s.vocab || i > 0 && !(t.Logits[i] <= t.Logits[i-1]) {
			return 0
		}
	}
	for i := 0; i < n; { // equals by id; their probabilities are the same
		end := i + 1
		for end < n && t.Logits[end] == t.Logits[i] {
			end++
		}
		slices.SortFunc(t.IDs[i:end], cmp.Compare)
		i = end
	}
	return n
}
