package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// history is what a row of the tests is changed by.
type history struct{ prompt, output, forbid []int32 }

// changedOracle is the row after bias, penalties and forbidden tokens.
func changedOracle(p Params, row []float32, h history) []float64 {
	x := make([]float64, len(row))
	for i, v := range row {
		x[i] = float64(v)
	}
	for id, b := range p.LogitBias {
		x[id] += float64(b)
	}
	seen, count := map[int32]bool{}, map[int32]int{}
	for _, id := range h.prompt {
		seen[id] = true
	}
	for _, id := range h.output {
		seen[id] = true
		count[id]++
	}
	for id := range seen {
		if r := float64(p.RepetitionPenalty); r != 0 && x[id] > 0 {
			x[id] /= r
		} else if r != 0 {
			x[id] *= r
		}
	}
	for id, n := range count {
		x[id] -= float64(n)*float64(p.FrequencyPenalty) + float64(p.PresencePenalty)
	}
	for _, id := range h.forbid {
		if id >= 0 && int(id) < len(x) {
			x[id] = math.Inf(-1)
		}
	}
	return x
}

// oracle is the distribution that the parameters leave of a row, in float64, by sorting everything.
func oracle(p Params, row []float32, h history) []float64 {
	x := changedOracle(p, row, h)
	order := make([]int, 0, len(x))
	for i := range x {
		if !math.IsInf(x[i], -1) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return 0
	})
	if p.Temperature == 0 {
		order = order[:1]
	} else if p.TopK > 0 {
		order = order[:min(p.TopK, len(order))]
	}
	weigh := func() []float64 {
		w, sum := make([]float64, len(order)), 0.0
		for i, id := range order {
			w[i] = 1
			if p.Temperature > 0 {
				w[i] = math.Exp((x[id] - x[order[0]]) / float64(p.Temperature))
			}
			sum += w[i]
		}
		for i := range w {
			w[i] /= sum
		}
		return w
	}
	w := weigh()
	if p.Temperature > 0 && p.TopP < 1 {
		for i, sum := 0, 0.0; i < len(w); i++ {
			if sum += w[i]; sum >= float64(p.TopP) {
				order = order[:i+1]
				break
			}
		}
		w = weigh()
	}
	if p.Temperature > 0 {
		i := slices.IndexFunc(w, func(v float64) bool { return v < float64(p.MinP)*w[0] })
		if i >= 0 {
			order = order[:i]
		}
		w = weigh()
	}
	out := make([]float64, len(x))
	for i, id := range order {
		out[id] = w[i]
	}
	return out
}

// support is the tokens with a probability that counts in float32.
func support(prob []float64) (ids []int32) {
	for i, p := range prob {
		if p > 1e-9 {
			ids = append(ids, int32(i))
		}
	}
	return ids
}

func randomRow(r *rand.Rand, n int, spread float64) []float32 {
	row := make([]float32, n)
	for i := range row {
		row[i] = float32(r.NormFloat64() * spread)
	}
	return row
}

type setting struct {
	name string
	row  []float32
	p    Params
	history
}

func settings() []setting {
	r := rand.New(rand.NewPCG(1, 2))
	small, wide := randomRow(r, 50, 2), randomRow(r, 700, 0.5)
	masked := slices.Clone(small)
	for i := 10; i < 30; i++ {
		masked[i] = float32(math.Inf(-1))
	}
	tied := make([]float32, 40)
	for i := range tied {
		tied[i] = float32(i / 10)
	}
	return []setting{
		{"temperature", small, Params{Temperature: 1, TopP: 1}, history{}},
		{"cold", small, Params{Temperature: 0.5, TopP: 1}, history{}},
		{"hot", small, Params{Temperature: 5, TopP: 1}, history{}},
		{"masked", masked, Params{Temperature: 1, TopP: 1}, history{}},
		{"top-k", small, Params{Temperature: 1, TopP: 1, TopK: 7}, history{}},
		{"top-k beyond the finite ones", masked, Params{Temperature: 2, TopP: 1, TopK: 45}, history{}},
		{"top-k beyond the vocabulary", small, Params{Temperature: 1, TopP: 1, TopK: 5000}, history{}},
		{"top-k among ties", tied, Params{Temperature: 1, TopP: 1, TopK: 15}, history{}},
		{"top-p", small, Params{Temperature: 1, TopP: 0.7}, history{}},
		{"top-p of almost nothing", small, Params{Temperature: 1, TopP: 1e-6}, history{}},
		{"top-p among ties", tied, Params{Temperature: 1, TopP: 0.5}, history{}},
		{"top-p beyond the first candidates", wide, Params{Temperature: 1, TopP: 0.6}, history{}},
		{"min-p", small, Params{Temperature: 1, TopP: 1, MinP: 0.1}, history{}},
		{"min-p beyond the first candidates", wide, Params{Temperature: 1, TopP: 1, MinP: 0.2}, history{}},
		{"min-p of one", small, Params{Temperature: 1, TopP: 1, MinP: 1}, history{}},
		{"top-k, top-p and min-p", small, Params{Temperature: 1.3, TopK: 20, TopP: 0.9, MinP: 0.05}, history{}},
		{"top-p and min-p", small, Params{Temperature: 1, TopP: 0.97, MinP: 0.15}, history{}},
		{"top-k and min-p of one among ties", tied, Params{Temperature: 1, TopK: 20, TopP: 1, MinP: 1}, history{}},
		{"top-p and min-p beyond the first candidates", wide, Params{Temperature: 1, TopP: 0.8, MinP: 0.1}, history{}},
		{"penalties", small, Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1.5, PresencePenalty: 0.5, FrequencyPenalty: 0.3},
			history{prompt: []int32{1, 2, 3, 3}, output: []int32{3, 4, 4, 4}}},
		{"penalties that reward", small, Params{Temperature: 1, TopP: 1, RepetitionPenalty: 0.8, PresencePenalty: -1, FrequencyPenalty: -0.2},
			history{prompt: []int32{1, 2}, output: []int32{3, 4, 4}}},
		{"bias and forbidden", small, Params{Temperature: 1, TopP: 0.95, LogitBias: map[int32]float32{5: 3, 6: -100}}, history{forbid: []int32{0, 5, 1000, -1}}},
	}
}

// TestDistribution draws many times from one row and compares the counts with the oracle's probabilities by chi-square.
func TestDistribution(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	for _, c := range settings() {
		t.Run(c.name, func(t *testing.T) {
			draws := 8000
			if len(c.row) > 256 {
				draws = 2000 // the plain kernels are slow
			}
			c.p.Seed = 42
			if err := c.p.Check(len(c.row)); err != nil {
				t.Fatal(err)
			}
			want := oracle(c.p, c.row, c.history)
			s := New(c.p, len(c.row), Reference())
			s.Prompt(c.prompt)
			for _, id := range c.output {
				s.count(id)
			}
			got := map[int32]int{}
			for range draws {
				id, err := s.choose(Logits{F32: c.row}, c.forbid)
				if err != nil {
					t.Fatal(err)
				}
				got[id]++
			}
			chi, free, restGot, restWant := 0.0, -1, 0.0, 0.0
			for id, p := range want {
				if p == 0 {
					if got[int32(id)] > 0 {
						t.Errorf("token %d was drawn %d times, the oracle filters it out", id, got[int32(id)])
					}
					continue
				}
				if restGot, restWant = restGot+float64(got[int32(id)]), restWant+p*float64(draws); restWant < 10 {
					continue // cells are put together until they expect enough
				}
				chi += (restGot - restWant) * (restGot - restWant) / restWant
				free++
				restGot, restWant = 0, 0
			}
			// Chance alone goes beyond this bound about once in a million.
			if bound := float64(free) + 5*math.Sqrt(2*float64(max(free, 1))) + 12; chi > bound {
				t.Errorf("chi-square is %.1f with %d degrees of freedom, expected less than %.1f", chi, free, bound)
			}
		})
	}
}

// TestFilters compares the sets that survive, at the border too, with the oracle's: nothing may be missing or too much.
func TestFilters(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		n := []int{2, 5, 255, 256, 257, 1500}[i%6]
		row := randomRow(r, n, []float64{0.1, 1, 4}[r.IntN(3)])
		p := Params{Temperature: []float32{0.3, 1, 3}[r.IntN(3)], TopP: 1 - r.Float32(), Seed: 1}
		switch r.IntN(4) {
		case 0:
			p.TopP = 1
		case 1:
			p.TopP = 0.999
		}
		if r.IntN(2) == 0 {
			p.MinP = r.Float32()
		}
		if i%2 == 0 { // ties
			for i := range row {
				row[i] = float32(math.Round(float64(row[i])))
			}
			row[0]++ // not all equal
		}
		s := New(p, n, Reference())
		if _, err := s.Next(Logits{F32: row}, nil); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if s.ids == nil {
			continue
		}
		want := support(oracle(p, row, history{}))
		least := p.MinP * slices.Max(s.prob)
		ids, sum := s.nucleus(row, slices.Max(row), least)
		got := slices.Clone(ids)
		slices.Sort(got)
		got = slices.DeleteFunc(got, func(id int32) bool { return s.prob[id] < 1e-9 })
		if border := math.Abs(sum - float64(p.TopP)); len(got) != len(want) && border < 1e-5 {
			continue // float32 may see this border one token off
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d tokens, %+v: %d survive, expected %d", n, p, len(got), len(want))
		}
	}
}
