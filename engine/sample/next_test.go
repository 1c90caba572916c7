package sample

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// manners are parameters that lead through each way to a token.
func manners() map[string]Params {
	return map[string]Params{
		"greedy":             {},
		"greedy, penalties":  {RepetitionPenalty: 1.2, PresencePenalty: 0.1, FrequencyPenalty: 0.1},
		"greedy, bias":       {LogitBias: map[int32]float32{1: 1}},
		"whole vocabulary":   {Temperature: 1, TopP: 1},
		"top-k":              {Temperature: 1, TopP: 1, TopK: 5},
		"top-k, top-p":       {Temperature: 0.7, TopP: 0.9, TopK: 50},
		"top-p":              {Temperature: 0.7, TopP: 0.9},
		"top-p, much":        {Temperature: 50, TopP: 0.99},
		"min-p":              {Temperature: 1, TopP: 1, MinP: 0.05},
		"everything at once": {Temperature: 1, TopP: 0.95, MinP: 0.01, RepetitionPenalty: 1.1, PresencePenalty: 1, LogitBias: map[int32]float32{2: -1}},
	}
}

func toHalf(row []float32) (half []uint16, exact []float32) {
	for _, v := range row {
		h := uint16(0)
		best := math.Inf(1)
		for _, c := range []uint16{0xfc00, 0x7c00} {
			if v == fromHalf(c) {
				h, best = c, 0
			}
		}
		if best != 0 { // the upper bits of the significand are enough here
			bits := math.Float32bits(v * (1.0 / (1 << 112)))
			h = uint16(bits>>16&0x8000 | bits>>13&0x7fff)
		}
		half, exact = append(half, h), append(exact, fromHalf(h))
	}
	return half, exact
}

// TestHalf checks every half-precision number that is none of the extremes against its definition.
func TestHalf(t *testing.T) {
	for h := range uint32(1 << 16) {
		exponent, fraction := int(h>>10&31), float64(h&1023)
		want := math.Ldexp(fraction, -24)
		switch {
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		case exponent > 0:
			want = math.Ldexp(1024+fraction, exponent-25)
		}
		want = math.Copysign(want, float64(1-2*int(h>>15)))
		got := float64(fromHalf(uint16(h)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (h>>15 == 1) {
			t.Fatalf("%#04x is %v, expected %v", h, got, want)
		}
	}
}

// TestHalfRows: half-precision logits give the tokens that the same numbers in float32 give.
func TestHalfRows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, p := range manners() {
		a, b := New(p, 600, Reference()), New(p, 600, Reference())
		for i := range 50 {
			half, exact := toHalf(randomRow(r, 600, 3))
			got, err1 := a.Next(Logits{F16: half}, []int32{4})
			want, err2 := b.Next(Logits{F32: exact}, []int32{4})
			if got != want || err1 != nil || err2 != nil {
				t.Fatalf("%s, step %d: half precision gives %d (%v), float32 %d (%v)", name, i, got, err1, want, err2)
			}
		}
	}
}

// TestNumeric is M-08 of the faults: nothing is chosen from a broken row, nothing counted, nothing drawn.
func TestNumeric(t *testing.T) {
	good := randomRow(rand.New(rand.NewPCG(5, 6)), 300, 2)
	for name, p := range manners() {
		for what, spoil := range map[string]func(row []float32){
			"NaN first":      func(row []float32) { row[0] = nan },
			"NaN last":       func(row []float32) { row[299] = nan },
			"negative NaN":   func(row []float32) { row[150] = -nan },
			"+Inf":           func(row []float32) { row[77] = inf },
			"all -Inf":       func(row []float32) { clearTo(row, -inf) },
			"all NaN":        func(row []float32) { clearTo(row, nan) },
			"all equal":      func(row []float32) { clearTo(row, 1.5) },
			"all zero":       func(row []float32) { clear(row) },
			"-Inf, one +Inf": func(row []float32) { clearTo(row, -inf); row[5] = inf },
		} {
			s, fresh := New(p, 300, Reference()), New(p, 300, Reference())
			bad := slices.Clone(good)
			spoil(bad)
			half, _ := toHalf(bad)
			if what == "negative NaN" || what[:2] != "al" && what != "-Inf, one +Inf" {
				half, _ = toHalf(good)
				half[150] = 0xfe00
			}
			if what == "all NaN" {
				half = slices.Repeat([]uint16{0x7e00}, 300)
			}
			for _, l := range []Logits{{F32: bad}, {F16: half}} {
				if id, err := s.Next(l, nil); !errors.Is(err, ErrNumeric) || id != -1 {
					t.Errorf("%s, %s: got %d, %v; expected ErrNumeric", name, what, id, err)
				}
			}
			for i := range 20 {
				got, err := s.Next(Logits{F32: good}, nil)
				want, _ := fresh.Next(Logits{F32: good}, nil)
				if got != want || err != nil {
					t.Fatalf("%s, %s: token %d afterwards is %d (%v), expected %d as if nothing had been", name, what, i, got, err, want)
				}
			}
		}
	}
}

func clearTo(row []float32, v float32) {
	for i := range row {
		row[i] = v
	}
}

func TestWrongRow(t *testing.T) {
	for _, l := range []Logits{{}, {F32: make([]float32, 4)}, {F32: make([]float32, 6)}, {F16: make([]uint16, 6)}, {F32: make([]float32, 2), F16: make([]uint16, 3)}} {
		if id, err := New(Params{}, 5, Reference()).Next(l, nil); err == nil || errors.Is(err, ErrNumeric) || id != -1 {
			t.Errorf("%d and %d logits for a vocabulary of 5: got %d, %v; expected an error", len(l.F32), len(l.F16), id, err)
		}
	}
}

// TestInPlace: the row belongs to the runtime, and plain greedy does not even copy it.
func TestInPlace(t *testing.T) {
	row := randomRow(rand.New(rand.NewPCG(8, 9)), 1000, 3)
	before := slices.Clone(row)
	for name, p := range manners() {
		s := New(p, len(row), Reference())
		s.Prompt([]int32{1, 2, 3, 999, 1000, -5})
		for range 3 {
			if _, err := s.Next(Logits{F32: row}, []int32{1, 2}); err != nil {
				t.Fatal(name, err)
			}
		}
		if !slices.Equal(row, before) {
			t.Fatalf("%s changed the row", name)
		}
	}
	k := Reference()
	first := k.Argmax
	k.Argmax = func(x []float32) (int, bool) {
		if &x[0] != &row[0] {
			t.Error("greedy looks at a copy")
		}
		return first(x)
	}
	if _, err := New(Params{}, len(row), k).Next(Logits{F32: row}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestGreedy(t *testing.T) {
	row := []float32{1, 5, 5, -inf, 4}
	for _, c := range []struct {
		name           string
		p              Params
		prompt, forbid []int32
		want           []int32 // of steps over the same row
	}{
		{"first of equals", Params{}, nil, nil, []int32{1, 1}},
		{"forbidden", Params{}, nil, []int32{1}, []int32{2, 2}},
		{"several forbidden", Params{}, nil, []int32{2, 1}, []int32{4, 4}},
		{"bias", Params{LogitBias: map[int32]float32{0: 4.5}}, nil, nil, []int32{0, 0}},
		{"bias cannot bring back what is masked", Params{LogitBias: map[int32]float32{3: 100}}, nil, nil, []int32{1, 1}},
		{"repetition", Params{RepetitionPenalty: 2}, nil, nil, []int32{1, 2, 4, 1}},
		{"repetition of the prompt", Params{RepetitionPenalty: 2}, []int32{1, 1, 2}, nil, []int32{4, 1}},
		{"presence", Params{PresencePenalty: 0.5}, []int32{1, 2}, nil, []int32{1, 2, 1, 1}},
		{"frequency", Params{FrequencyPenalty: 0.75}, []int32{1}, nil, []int32{1, 2, 1, 2, 4, 1}},
	} {
		s := New(c.p, len(row), Reference())
		s.Prompt(c.prompt)
		for i, want := range c.want {
			if got, err := s.Next(Logits{F32: row}, c.forbid); got != want || err != nil {
				t.Errorf("%s, step %d: got %d, %v; expected %d", c.name, i, got, err, want)
			}
		}
	}
}

// TestRepetitionSign: the penalty divides a positive logit and multiplies a negative one, as transformers does.
func TestRepetitionSign(t *testing.T) {
	for _, c := range []struct {
		row  []float32
		want int32
	}{
		{[]float32{-1, -1.5, -3}, 1}, // -1 becomes -2
		{[]float32{-1, -2.5, -3}, 0},
		{[]float32{0.5, 0.3, 0.1}, 1}, // 0.5 becomes 0.25
		{[]float32{0.5, 0.2, 0.1}, 0},
	} {
		s := New(Params{RepetitionPenalty: 2}, 3, Reference())
		s.Prompt([]int32{0})
		if id, err := s.Next(Logits{F32: c.row}, nil); id != c.want || err != nil {
			t.Errorf("%v: got %d, %v; expected %d", c.row, id, err, c.want)
		}
	}
}

// TestSeed: the tokens of a seed are part of what this package promises. A change here breaks what users have written down.
func TestSeed(t *testing.T) {
	row := randomRow(rand.New(rand.NewPCG(11, 12)), 100, 1.5)
	draw := func(p Params) (ids []int32) {
		s := New(p, len(row), Reference())
		for range 8 {
			id, err := s.Next(Logits{F32: row}, nil)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	for _, c := range []struct {
		p    Params
		want []int32
	}{
		{Params{Temperature: 1, TopP: 1, Seed: 1}, []int32{72, 15, 81, 3, 76, 68, 81, 70}},
		{Params{Temperature: 1, TopP: 0.9, Seed: 1}, []int32{37, 81, 98, 81, 98, 63, 8, 37}},
		{Params{Temperature: 1, TopP: 1, TopK: 20, Seed: math.MaxUint64}, []int32{76, 22, 76, 63, 37, 63, 47, 29}},
	} {
		if got := draw(c.p); !slices.Equal(got, c.want) || !slices.Equal(draw(c.p), got) {
			t.Errorf("%+v: got %v, expected %v", c.p, got, c.want)
		}
	}
	if slices.Equal(draw(Params{Temperature: 1, TopP: 1, Seed: 2}), draw(Params{Temperature: 1, TopP: 1, Seed: 3})) {
		t.Error("two seeds give the same tokens")
	}
}

// TestExtremeTemperatures: the coldest is greedy, the hottest takes all that is not masked.
func TestExtremeTemperatures(t *testing.T) {
	row := []float32{1, 3, 2, -inf, 0, 3.0000002}
	got := map[int32]int{}
	for seed := range uint64(200) {
		for _, p := range []Params{{Temperature: 1e-30, TopP: 1}, {Temperature: math.SmallestNonzeroFloat32, TopP: 0.9}, {Temperature: 1e-30, TopP: 1, TopK: 3}} {
			p.Seed = seed
			if id, err := New(p, 6, Reference()).Next(Logits{F32: row}, nil); id != 5 || err != nil {
				t.Fatalf("%+v: got %d, %v; expected 5", p, id, err)
			}
		}
		id, err := New(Params{Temperature: 1e9, TopP: 1, Seed: seed}, 6, Reference()).Next(Logits{F32: row}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got[id]++
	}
	ties := append(slices.Repeat([]float32{1}, 400), 0)
	if id, err := New(Params{Temperature: math.SmallestNonzeroFloat32, TopP: 0.99}, 401, Reference()).Next(Logits{F32: ties}, nil); err != nil || id == 400 {
		t.Errorf("coldest, 400 ties: got %d, %v", id, err)
	}
	if len(got) != 5 || got[3] > 0 {
		t.Errorf("the hottest drew %v, expected all but 3", got)
	}
}
