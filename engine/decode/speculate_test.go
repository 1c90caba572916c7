package decode

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/sample"
)

// babble is a model whose logits follow from its last tokens, by chance but always the same: it soon repeats itself. It measures its own time.
type babble struct {
	held     []int32
	capacity int
	order    int     // how many tokens count
	spread   float64 // of its logits
	fault    int     // the length at which it gives NaN; 0 is none
	broken   int     // the run that fails
	runs     int
	fed      int // tokens
	clock    time.Time
	spent    time.Duration // in truth, where the clock is unsteady
	run, row time.Duration // what a run takes, and each of its rows after the first
	unsteady *rand.Rand    // nil: every run takes as long as it should
}

func (b *babble) Capacity() int { return b.capacity }

func (b *babble) Held() []int32 { return b.held }

func (b *babble) Keep(n int) error {
	if n > len(b.held) {
		return fmt.Errorf("keep %d of %d", n, len(b.held))
	}
	b.held = b.held[:n]
	return nil
}

func (b *babble) Feed(ctx context.Context, ids []int32) (sample.Logits, error) {
	rows, err := b.FeedRows(ctx, ids)
	if err != nil {
		return sample.Logits{}, err
	}
	return rows[len(rows)-1], nil
}

func (b *babble) FeedRows(_ context.Context, ids []int32) (rows []sample.Logits, err error) {
	b.runs++
	b.fed += len(ids)
	b.wait(b.run + time.Duration(len(ids)-1)*b.row)
	if b.runs == b.broken {
		return nil, errBroken
	}
	for _, id := range ids {
		b.held = append(b.held, id)
		h := fnv.New64a()
		for _, id := range b.held[max(len(b.held)-b.order, 0):] {
			h.Write([]byte{byte(id)})
		}
		r := rand.New(rand.NewPCG(h.Sum64(), 1))
		row := make([]float32, vocab)
		for i := range row {
			row[i] = float32(r.NormFloat64() * b.spread)
		}
		if len(b.held) == b.fault {
			row[3] = float32(math.NaN())
		}
		rows = append(rows, sample.Logits{F32: row})
	}
	if len(b.held) > b.capacity {
		return nil, errors.New("fed more than the capacity")
	}
	return rows, nil
}

// wait lets time pass: on an unsteady machine often half as much again, and now and then ten times as much.
func (b *babble) wait(d time.Duration) {
	b.spent += d
	if b.unsteady != nil {
		factor := math.Exp(b.unsteady.NormFloat64() / 3)
		if b.unsteady.IntN(30) == 0 {
			factor *= 10
		}
		d = time.Duration(factor * float64(d))
	}
	b.clock = b.clock.Add(d)
}

func (b *babble) now() time.Time { return b.clock }

// wild guesses anything, is sure of it, and gives fewer guesses than it is asked for, or none.
type wild struct {
	random *rand.Rand
	odds   []float64
}

func (w *wild) Begin(context.Context, []int32) error { return nil }

func (w *wild) Odds(_ []int32, most int) []float64 {
	w.odds = slices.Repeat([]float64{1}, max(most, 0))
	return w.odds
}

func (w *wild) Propose(_ context.Context, n int) (ids []int32, err error) {
	for range w.random.IntN(n + 1) {
		ids = append(ids, w.random.Int32N(vocab))
	}
	return ids, nil
}

func draftOf(m Model) *Draft {
	return NewDraft(m, sample.New(sample.Params{}, vocab, sample.Reference()), vocab, vocab)
}

// outcome is all of a generation that a caller sees, and what the model holds after it.
type outcome struct {
	ids    []int32
	text   string
	stats  Stats
	err    error
	held   []int32
	runs   int
	fed    int
	closed bool
}

// generate runs a request until it ends, or until leave or cancel tokens were seen.
func generate(t *testing.T, m *babble, q Request, leave, cancel int) (o outcome) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for token, err := range Generate(ctx, m, q) {
		o.text += token.Text
		if o.err = err; token.Stats != nil {
			o.stats, o.closed = *token.Stats, true
			continue
		}
		if o.ids = append(o.ids, token.ID); len(o.ids) == cancel {
			stop()
		}
		if len(o.ids) == leave {
			break
		}
	}
	o.held, o.runs, o.fed = slices.Clone(m.held), m.runs, m.fed
	return o
}

// settings is a request by chance, the same for the same seed, with what its prompt and model are.
func settings(t *testing.T, seed uint64) (model func() *babble, ask func() Request) {
	r := rand.New(rand.NewPCG(seed, 7))
	pick := func(n ...int) int { return n[r.IntN(len(n))] }
	b := babble{capacity: pick(12, 33, 60, 200), order: pick(1, 1, 2, 3), spread: float64(pick(1, 3)), run: time.Second, row: time.Second / 10}
	prompt := make([]int32, 1+r.IntN(pick(4, 10, 80)))
	for i := range prompt {
		prompt[i] = r.Int32N(int32(pick(3, vocab)))
	}
	p := sample.Params{}
	if r.IntN(3) > 0 {
		p = sample.Params{Temperature: float32(pick(1, 2, 10)) / 5, TopP: float32(pick(5, 9, 10)) / 10, TopK: pick(0, 0, 5), MinP: float32(pick(0, 0, 1)) / 50, Seed: r.Uint64()}
	}
	if r.IntN(2) == 0 {
		p.RepetitionPenalty, p.PresencePenalty, p.FrequencyPenalty = 1.2, float32(pick(0, 1))/2, float32(pick(0, 1))/4
	}
	maxTokens, minTokens, overflow := pick(0, 1, 2, 3, 10, 50), pick(0, 0, 5), Overflow(r.IntN(3))
	if overflow == OverflowShift {
		maxTokens = pick(1, 2, 100, 300)
	}
	ends, ignore := []int32{end}, r.IntN(4) == 0
	if r.IntN(2) == 0 {
		ends = nil
	}
	stop := [][]string{nil, {"ab"}, {"q"}, {"cde", "zz"}}[r.IntN(4)]
	fault := pick(0, 0, 0, 0, 20, 40)
	return func() *babble { m := b; m.fault = fault; return &m }, func() Request {
		q := request(prompt...)
		q.Sampler = sample.New(p, vocab, sample.Reference())
		q.Ends, q.IgnoreEnd, q.MaxTokens, q.MinTokens, q.Overflow = ends, ignore, maxTokens, minTokens, overflow
		if stop != nil {
			q.Stops = stops(t, stop...)
		}
		return q
	}
}

// guessers are those who guess, each made anew.
func guessers(m *babble, seed uint64) map[string]func() []Proposer {
	other := &babble{capacity: m.capacity, order: m.order, spread: 2, run: m.run / 10}
	same := &babble{capacity: max(m.capacity/2, 1), order: m.order, spread: m.spread, fault: m.fault}
	random := &wild{random: rand.New(rand.NewPCG(seed, 9))}
	return map[string]func() []Proposer{
		"lookup":           func() []Proposer { return []Proposer{new(Lookup)} },
		"wild":             func() []Proposer { return []Proposer{random} },
		"draft":            func() []Proposer { return []Proposer{draftOf(same)} },
		"lookup and draft": func() []Proposer { return []Proposer{new(Lookup), draftOf(other)} },
	}
}

// Whatever is asked for and whoever guesses, tokens, text, end, faults and what the model holds are those of plain decoding.
func TestSpeculationChangesNothing(t *testing.T) {
	accepted, proposed := 0, 0
	for seed := range uint64(400) {
		model, ask := settings(t, seed)
		leave, cancel := 0, 0
		switch seed % 8 {
		case 0:
			leave = 1 + int(seed/8)%20
		case 1:
			cancel = 1 + int(seed/8)%20
		}
		plain := generate(t, model(), ask(), leave, cancel)
		for name, proposers := range guessers(model(), seed) {
			m, q := model(), ask()
			q.Proposers, q.Now = proposers(), m.now
			got := generate(t, m, q, leave, cancel)
			if !slices.Equal(got.ids, plain.ids) || got.text != plain.text || fmt.Sprint(got.err) != fmt.Sprint(plain.err) || got.closed != plain.closed {
				t.Fatalf("seed %d, %s:\ngot  %v %q %v\nwant %v %q %v", seed, name, got.ids, got.text, got.err, plain.ids, plain.text, plain.err)
			}
			if !slices.Equal(got.held, plain.held) {
				t.Fatalf("seed %d, %s: the model holds\n%v, want\n%v", seed, name, got.held, plain.held)
			}
			a, b := got.stats, plain.stats
			if a.Generated != b.Generated || a.Finish != b.Finish || a.Dropped != b.Dropped || a.PromptTokens != b.PromptTokens {
				t.Fatalf("seed %d, %s: got %+v, want %+v", seed, name, a, b)
			}
			if a.Accepted > a.Proposed || got.closed && got.runs != plain.runs-a.Accepted || got.closed && a.Dropped == 0 && got.fed > plain.fed+a.Proposed-a.Accepted {
				t.Fatalf("seed %d, %s: got %+v, %d runs of %d tokens; plain %d of %d", seed, name, a, got.runs, got.fed, plain.runs, plain.fed)
			}
			accepted, proposed = accepted+a.Accepted, proposed+a.Proposed
		}
	}
	if accepted < 1000 || proposed-accepted < 1000 {
		t.Errorf("%d guesses of %d were right; want many of both kinds, or the test shows little", accepted, proposed)
	}
}

// No row is computed that the budget or the context has no room for.
func TestSpeculationComputesNothingBeyondTheEnd(t *testing.T) {
	for most := range 30 { // 0: until the context is full
		m := &babble{capacity: 40, order: 1, spread: 1, run: time.Second}
		q := request(1, 2, 3)
		q.MaxTokens, q.Ends, q.Now = most, nil, m.now
		q.Proposers = []Proposer{&wild{random: rand.New(rand.NewPCG(1, 1))}}
		o := generate(t, m, q, 0, 0)
		tokens := most
		if most == 0 {
			tokens = 37
		}
		// the prompt, and every token but the last, and what was wrong
		if want := 3 + tokens - 1 + o.stats.Proposed - o.stats.Accepted; o.err != nil || m.fed > want || len(o.ids) != tokens {
			t.Errorf("at most %d tokens: got %d, %v, %d fed; want %d, at most %d fed", most, len(o.ids), o.err, m.fed, tokens, want)
		}
	}
}

func TestSpeculationNeedsRows(t *testing.T) {
	q := request(1)
	q.Proposers = []Proposer{new(Lookup)}
	m := &script{capacity: 10}
	if _, _, stats, err := collect(t, t.Context(), m, q); err == nil || stats.Finish != FinishError || m.feeds != 0 {
		t.Errorf("got %v after %d runs, want an error and no run", err, m.feeds)
	}
}

// The time that speculation takes, over plain decoding's: it pays where text repeats, and costs next to nothing where guesses are wrong or
// rows are dear.
func TestSpeculationPays(t *testing.T) {
	hot := sample.Params{Temperature: 1, TopP: 1, Seed: 3}
	for _, c := range []struct {
		name      string
		params    sample.Params
		spread    float64
		row       float64 // in runs
		draft     float64 // what a token of the draft costs, in runs; 0 is no draft
		same      bool    // the draft is the model itself
		tokens    int
		low, high float64 // time of plain decoding over this
	}{
		{"repeats", sample.Params{}, 1, 0.15, 0, false, 128, 1.7, 10},
		{"repeats, rows almost free", sample.Params{}, 1, 0.03, 0, false, 128, 2.5, 40},
		{"repeats, rows dear", sample.Params{}, 1, 1.1, 0, false, 128, 0.97, 1.1},
		{"chance", hot, 0.1, 0.15, 0, false, 128, 0.97, 1.1},
		{"chance, a short answer", hot, 0.1, 0.15, 0, false, 25, 0.97, 1.1},
		{"chance, rows dear", hot, 0.1, 3, 0, false, 512, 0.97, 1},
		{"a little is foretold", hot, 1.5, 0.15, 0, false, 512, 0.97, 2},
		{"a good draft", hot, 4, 0.15, 0.1, true, 256, 1.1, 10},
		{"a draft that knows nothing", hot, 0.1, 0.15, 0.1, false, 512, 0.97, 1.02},
		{"a draft as slow as the model", hot, 0.1, 0.15, 1, false, 512, 0.97, 1.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			spent := func(speculate bool, seed uint64) float64 {
				run := time.Second
				m := &babble{capacity: 4096, order: 2, spread: c.spread, run: run, row: time.Duration(c.row * float64(run))}
				if seed > 0 {
					m.unsteady = rand.New(rand.NewPCG(seed, 4))
				}
				q := request(5, 6, 7)
				q.Sampler, q.MaxTokens, q.Ends, q.Now = sample.New(c.params, vocab, sample.Reference()), c.tokens, nil, m.now
				if speculate {
					q.Proposers = []Proposer{new(Lookup)}
				}
				if speculate && c.draft > 0 {
					d := &babble{capacity: 4096, order: 2, spread: c.spread}
					if !c.same {
						d.order = 3
					}
					q.Proposers = append(q.Proposers, &slow{draftOf(d), m, time.Duration(c.draft * float64(run))})
				}
				o := generate(t, m, q, 0, 0)
				if o.err != nil || len(o.ids) != c.tokens {
					t.Fatalf("got %d tokens, %v", len(o.ids), o.err)
				}
				return (m.spent - run - 2*m.row).Seconds() // without the prompt
			}
			plain := spent(false, 0)
			if ratio := plain / spent(true, 0); !(ratio >= c.low && ratio <= c.high) {
				t.Errorf("got %.3f times as fast, want %.2f to %.2f", ratio, c.low, c.high)
			}
			var ratios []float64
			for seed := range uint64(41) {
				ratios = append(ratios, plain/spent(true, seed+1))
			}
			slices.Sort(ratios)
			t.Logf("%.3f, unsteady %.3f (%.3f to %.3f)", plain/spent(true, 0), ratios[20], ratios[0], ratios[40])
			if low := 0.95 + (c.low-0.95)*0.8; ratios[20] < low {
				t.Errorf("on an unsteady machine: got %.3f times as fast, want %.2f", ratios[20], low)
			}
		})
	}
}

// slow is a proposer whose guesses take time.
type slow struct {
	Proposer
	m    *babble
	each time.Duration
}

func (s *slow) Propose(ctx context.Context, n int) ([]int32, error) {
	s.m.wait(time.Duration(n) * s.each)
	return s.Proposer.Propose(ctx, n)
}

// The tokens that are drawn under speculation have the probabilities that their logits say: chi squared over many seeds, for the tokens
// of the answer that guesses are right and wrong about.
func TestSpeculationKeepsTheDistribution(t *testing.T) {
	const seeds, tokens = 8000, 16
	params := sample.Params{Temperature: 0.8, TopP: 1}
	prompt := []int32{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3}
	counts := map[int32]map[int32]int{} // how often a token followed another
	accepted, proposed := 0, 0
	for seed := range uint64(seeds) {
		m := &babble{capacity: 64, order: 1, spread: 2.5, run: time.Second}
		q := request(prompt...)
		params.Seed = seed
		q.Sampler, q.MaxTokens, q.Ends, q.Now = sample.New(params, vocab, sample.Reference()), tokens, nil, m.now
		q.Proposers = []Proposer{new(Lookup)}
		o := generate(t, m, q, 0, 0)
		accepted, proposed = accepted+o.stats.Accepted, proposed+o.stats.Proposed
		for i, id := range o.ids[1:] {
			if counts[o.ids[i]] == nil {
				counts[o.ids[i]] = map[int32]int{}
			}
			counts[o.ids[i]][id]++
		}
	}
	if accepted < seeds/10 || proposed-accepted < seeds/10 {
		t.Fatalf("%d guesses of %d were right: the test shows little", accepted, proposed)
	}
	chi, freedom := 0.0, 0
	for last, after := range counts {
		m := &babble{capacity: 64, order: 1, spread: 2.5}
		logits, err := m.Feed(t.Context(), []int32{last})
		if err != nil {
			t.Fatal(err)
		}
		sum, all := 0.0, 0
		for id, x := range logits.F32 {
			sum += math.Exp(float64(x) / 0.8)
			all += after[int32(id)]
		}
		if all < 2000 {
			continue
		}
		for id, x := range logits.F32 {
			expected := float64(all) * math.Exp(float64(x)/0.8) / sum
			if d := float64(after[int32(id)]) - expected; expected >= 5 {
				chi += d * d / expected
				freedom++
			}
		}
		freedom--
	}
	// The normal approximation of chi squared: beyond 5 deviations lies less than a millionth.
	if deviation := (chi - float64(freedom)) / math.Sqrt(2*float64(freedom)); freedom < 100 || deviation > 5 {
		t.Errorf("chi squared is %.0f at %d degrees of freedom, %.1f deviations away; want at most 5", chi, freedom, deviation)
	}
}
