package sample

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// topOf is what a device gives of a row: equal logits in any order, and of those that equal the smallest, any.
func topOf(row []float32, k int, scale float32, r *rand.Rand) *Top {
	ids := make([]int32, len(row))
	for i := range ids {
		ids[i] = int32(i)
	}
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case row[a] > row[b]:
			return -1
		case row[a] < row[b]:
			return 1
		}
		return 0
	})
	all := slices.Clone(row)
	softmax(all, scale)
	t := &Top{IDs: ids[:min(k, len(ids))], Scale: scale}
	for _, id := range t.IDs {
		t.Logits, t.Probs = append(t.Logits, row[id]), append(t.Probs, all[id])
	}
	return t
}

// The largest logits give the tokens that the whole row gives, from the same seed; the row is asked for only where they cannot.
func TestTopChoosesAsTheWholeRow(t *testing.T) {
	const vocab, k, steps = 600, 128, 60
	for _, c := range []struct {
		name string
		p    Params
		few  bool
		asks bool // for some rows at least
	}{
		{"greedy", Params{}, true, false},
		{"top-k", Params{Temperature: 0.8, TopP: 1, TopK: 40}, true, false},
		{"top-k and top-p", Params{Temperature: 1.3, TopP: 0.8, TopK: 50}, true, false},
		{"top-k and min-p", Params{Temperature: 1, TopP: 1, TopK: 20, MinP: 0.1}, true, false},
		{"the longest top-k", Params{Temperature: 1, TopP: 1, TopK: 127}, true, true}, // where there are equals
		{"top-p", Params{Temperature: 0.5, TopP: 0.9}, true, false},
		{"top-p of a hot row", Params{Temperature: 3, TopP: 0.9}, true, true},
		{"min-p", Params{Temperature: 0.7, TopP: 1, MinP: 0.05}, true, false},
		{"top-p and min-p", Params{Temperature: 1, TopP: 0.95, MinP: 0.02}, true, false},
		{"coldest", Params{Temperature: math.SmallestNonzeroFloat32, TopP: 0.9}, true, false},
		{"all", Params{Temperature: 1, TopP: 1}, false, true},
		{"a longer top-k", Params{Temperature: 1, TopP: 1, TopK: 128}, false, true},
		{"repetition", Params{RepetitionPenalty: 1.1}, false, true},
		{"presence", Params{PresencePenalty: 1}, false, true},
		{"frequency", Params{FrequencyPenalty: 1}, false, true},
		{"bias", Params{LogitBias: map[int32]float32{3: 5}}, false, true},
	} {
		if got := c.p.Few(k); got != c.few {
			t.Errorf("%s: few is %v, want %v", c.name, got, c.few)
		}
		c.p.Seed = 7
		random := rand.New(rand.NewPCG(1, 2))
		whole, top := New(c.p, vocab, Reference()), New(c.p, vocab, Reference())
		asked := 0
		for step := range steps {
			row := randomRow(random, vocab, 3)
			if step%2 == 0 { // many equals
				for i := range row {
					row[i] = float32(math.Round(float64(row[i])*4)) / 4
				}
			}
			l := topOf(row, k, c.p.Scale(), random)
			l.Whole = func() (Logits, error) {
				asked++
				return Logits{F32: row}, nil
			}
			want, err := whole.Next(Logits{F32: row}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := top.Next(Logits{Top: l}, nil); got != want || err != nil {
				t.Fatalf("%s, step %d: got %d, %v; want %d", c.name, step, got, err, want)
			}
		}
		if (asked > 0) != c.asks || !c.few && asked != steps {
			t.Errorf("%s: the whole row was asked for in %d of %d steps", c.name, asked, steps)
		}
	}
}

// What the largest logits cannot answer, the row does: faults, forbidden tokens, and what no device should give.
func TestTopThatIsNotEnough(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	row := randomRow(random, 300, 3)
	with := func(change func(l *Top)) *Top {
		l := topOf(row, 128, 1, random)
		change(l)
		return l
	}
	nan := float32(math.NaN())
	greedy, sampled := Params{}, Params{Temperature: 1, TopP: 0.9}
	for _, c := range []struct {
		name   string
		p      Params
		top    *Top
		forbid []int32
	}{
		{"nothing", greedy, &Top{}, nil},
		{"a token is forbidden", greedy, with(func(*Top) {}), []int32{5}},
		{"not a number somewhere", greedy, with(func(l *Top) { l.Probs[0] = nan }), nil},
		{"the largest is infinite", greedy, with(func(l *Top) { l.Logits[0] = float32(math.Inf(1)) }), nil},
		{"not in order", greedy, with(func(l *Top) { l.Logits[1] = l.Logits[0] + 1 }), nil},
		{"not a number among the largest", greedy, with(func(l *Top) { l.Logits[3] = nan }), nil},
		{"a token beyond the vocabulary", greedy, with(func(l *Top) { l.IDs[2] = 300 }), nil},
		{"a negative token", sampled, with(func(l *Top) { l.IDs[2] = -1 }), nil},
		{"fewer probabilities", sampled, with(func(l *Top) { l.Probs = l.Probs[:5] }), nil},
		{"of another temperature", sampled, with(func(l *Top) { l.Scale = 2 }), nil},
		{"all equal", greedy, with(func(l *Top) {
			for i := range l.Logits {
				l.Logits[i] = 1
			}
		}), nil},
	} {
		asked := false
		c.top.Whole = func() (Logits, error) {
			asked = true
			return Logits{F32: row}, nil
		}
		want, err := New(c.p, len(row), Reference()).Next(Logits{F32: row}, c.forbid)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := New(c.p, len(row), Reference()).Next(Logits{Top: c.top}, c.forbid); got != want || err != nil || !asked {
			t.Errorf("%s: got %d, %v, the row was asked for: %v; want %d from the row", c.name, got, err, asked, want)
		}
	}
	gone := errors.New("gone")
	broken := &Top{Whole: func() (Logits, error) { return Logits{}, gone }}
	if id, err := New(greedy, len(row), Reference()).Next(Logits{Top: broken}, nil); id != -1 || !errors.Is(err, gone) {
		t.Errorf("a row that cannot be had: got %d, %v", id, err)
	}
}
