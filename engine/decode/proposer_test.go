package decode

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/sample"
)

func TestLookupFindsWhatCameAfter(t *testing.T) {
	for _, c := range []struct {
		name     string
		sequence []int32
		want     []int32 // of 4 guesses
	}{
		{"empty", nil, nil},
		{"one token", []int32{1}, nil},
		{"nothing seen before", []int32{1, 2, 3}, nil},
		{"one token seen before", []int32{1, 2, 3, 4, 5, 1}, []int32{2, 3, 4, 5}},
		{"the longer match wins over the later one", []int32{7, 8, 1, 5, 9, 8, 2, 4, 7, 8}, []int32{1, 5, 9, 8}},
		{"the later of two equal ones", []int32{8, 1, 5, 8, 2, 4, 6, 8}, []int32{2, 4, 6, 8}},
		{"a loop goes on with its own guesses", []int32{5, 1, 2, 1, 2}, []int32{1, 2, 1, 2}},
		{"the same token for ever", []int32{5, 3, 3}, []int32{3, 3, 3, 3}},
	} {
		l := new(Lookup)
		odds := l.Odds(c.sequence, 4)
		if c.want == nil {
			if len(odds) != 0 {
				t.Errorf("%s: got odds %v, want no guess", c.name, odds)
			}
			continue
		}
		got, err := l.Propose(t.Context(), 4)
		if len(odds) != 4 || err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v with odds %v, %v; want %v", c.name, got, odds, err, c.want)
		}
	}
	if got := len(new(Lookup).Odds([]int32{1, 1, 1}, 100)); got != RowsMax {
		t.Errorf("asked for 100 guesses: got odds for %d, want at most %d", got, RowsMax)
	}
	for _, most := range []int{0, -3} {
		if got := new(Lookup).Odds([]int32{1, 1, 1}, most); len(got) != 0 {
			t.Errorf("asked for %d guesses: got odds %v", most, got)
		}
	}
}

// After a word that was changed, the copy goes on where it left off, though the same token was seen nearer the end.
func TestLookupResumesAnEditedCopy(t *testing.T) {
	source := []int32{10, 11, 12, 13, 14, 15, 16, 17, 18}
	sequence := slices.Concat(source, []int32{16, 30, 31}, []int32{10, 11, 12, 13, 14})
	l := new(Lookup)
	for _, next := range []int32{25, 16} { // 25 in place of 15
		l.Odds(sequence, 4)
		sequence = append(sequence, next)
	}
	l.Odds(sequence, 4)
	if got, _ := l.Propose(t.Context(), 2); !slices.Equal(got, []int32{17, 18}) {
		t.Errorf("got %v, want the source to go on with 17 and 18", got)
	}
}

// Guesses that come true are trusted more, and those that do not less, whether anyone asked for them or not.
func TestLookupLearns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	good, bad := new(Lookup), new(Lookup)
	var loop, noise []int32
	for i := range int32(200) {
		loop, noise = append(loop, i%5), append(noise, r.Int32N(20))
		good.Odds(loop, 1)
		bad.Odds(noise, 1)
	}
	if got := good.Odds(loop, 8); len(got) != 8 || got[7] < 0.95 {
		t.Errorf("in a loop: got odds %v, want almost certainty", got)
	}
	noise = append(noise, noise[150]) // which has been seen
	if got := bad.Odds(noise, 8); len(got) == 0 || got[0] > 0.15 {
		t.Errorf("in noise: got odds %v, want next to none", got)
	}
	good.Odds(loop[:50], 1) // the context was shifted
	if got, _ := good.Propose(t.Context(), 3); !slices.Equal(got, []int32{0, 1, 2}) {
		t.Errorf("after the sequence was cut: got %v, want [0 1 2]", got)
	}
}

// propose asks for at most n guesses.
func propose(t *testing.T, d *Draft, sequence []int32, n int) []int32 {
	t.Helper()
	n = len(d.Odds(sequence, n))
	ids, err := d.Propose(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(ids)
}

func TestDraftGuesses(t *testing.T) {
	t.Run("it goes on, and computes only what is new", func(t *testing.T) {
		m := &script{capacity: 40}
		d := draftOf(m)
		if err := d.Begin(t.Context(), []int32{1, 2, 3}); err != nil || m.fed != 3 {
			t.Fatalf("fed %d, %v; want the prompt", m.fed, err)
		}
		if got := propose(t, d, []int32{1, 2, 3, 4}, 3); !slices.Equal(got, []int32{5, 6, 7}) || m.fed != 6 {
			t.Errorf("got %v with %d fed, want [5 6 7] with 6", got, m.fed)
		}
		if got := propose(t, d, []int32{1, 2, 3, 4, 5, 9}, 2); !slices.Equal(got, []int32{10, 11}) || !slices.Equal(m.held, []int32{1, 2, 3, 4, 5, 9, 10}) {
			t.Errorf("after a wrong guess: got %v, holds %v", got, m.held)
		}
		if got := propose(t, d, []int32{1, 2}, 1); !slices.Equal(got, []int32{3}) {
			t.Errorf("after the context was shifted: got %v, want [3]", got)
		}
	})
	t.Run("a small context", func(t *testing.T) {
		m := &script{capacity: 5}
		d := draftOf(m)
		if err := d.Begin(t.Context(), make([]int32, 9)); err != nil || m.feeds != 0 {
			t.Errorf("a prompt that does not fit: %v after %d runs, want none", err, m.feeds)
		}
		if got := propose(t, d, []int32{1, 2, 3}, 8); !slices.Equal(got, []int32{4, 5}) {
			t.Errorf("got %v, want as much as it has room for", got)
		}
		if got := d.Odds([]int32{1, 2, 3, 4, 5, 6}, 8); len(got) != 0 {
			t.Errorf("a sequence that does not fit: got odds %v", got)
		}
	})
	t.Run("a larger vocabulary", func(t *testing.T) {
		d := NewDraft(&script{capacity: 40}, sample.New(sample.Params{}, vocab, sample.Reference()), vocab, 7)
		if got := propose(t, d, []int32{1, 4}, 8); !slices.Equal(got, []int32{5, 6}) {
			t.Errorf("got %v, want [5 6], for the model has no 7", got)
		}
	})
	t.Run("logits that are no numbers", func(t *testing.T) {
		m := &script{capacity: 40, fault: 2}
		d := draftOf(m)
		if got := propose(t, d, []int32{1, 2}, 4); !slices.Equal(got, []int32{3}) || len(m.held) != 0 {
			t.Errorf("got %v, holds %v; want what came before and nothing held", got, m.held)
		}
		if got := d.Odds([]int32{1, 2, 3, 4}, 4); len(got) != 0 {
			t.Errorf("afterwards: got odds %v, want no more guesses in this sequence", got)
		}
		if err := d.Begin(t.Context(), []int32{1}); err != nil || len(d.Odds([]int32{1, 2}, 4)) != 4 {
			t.Errorf("the next sequence: %v, want guesses again", err)
		}
	})
	t.Run("a fault", func(t *testing.T) {
		m := &script{capacity: 40, broken: 1}
		err := draftOf(m).Begin(t.Context(), []int32{1})
		if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "draft") {
			t.Errorf("got %v, want the fault, and whose it is", err)
		}
	})
}

// A token that the draft does not have is no fault of it.
func TestDraftOfASmallerVocabulary(t *testing.T) {
	m := &script{capacity: 40, rows: 7}
	d := NewDraft(m, sample.New(sample.Params{}, vocab, sample.Reference()), 7, vocab)
	if err := d.Begin(t.Context(), []int32{1, 7, 2}); err != nil {
		t.Errorf("a prompt with a token that the draft does not have: %v", err)
	}
	if got := d.Odds([]int32{1, 7, 2, 3}, 2); len(got) != 0 {
		t.Errorf("behind it: got odds %v, want no guess", got)
	}
	if got := propose(t, d, []int32{1, 2}, 2); !slices.Equal(got, []int32{3, 4}) {
		t.Errorf("after it was shifted out: got %v, want [3 4]", got)
	}
	if got := propose(t, d, []int32{1, 5}, 4); !slices.Equal(got, []int32{6}) {
		t.Errorf("got %v, want [6], for the draft has no 7", got)
	}
}

// A fault of the draft ends the request with its error, after the tokens that were given out.
func TestDraftFaultEndsTheRequest(t *testing.T) {
	m := &babble{capacity: 100, order: 1, spread: 1, run: 1e9, row: 1e8}
	q := request(1, 2, 3)
	q.Ends, q.MaxTokens, q.Now = nil, 50, m.now
	q.Proposers = []Proposer{draftOf(&babble{capacity: 100, order: 1, spread: 1, broken: 5})}
	o := generate(t, m, q, 0, 0)
	if !errors.Is(o.err, errBroken) || o.stats.Finish != FinishError || len(o.ids) != o.stats.Generated || len(o.ids) == 0 {
		t.Errorf("got %d tokens, %+v, %v; want some, then the draft's fault", len(o.ids), o.stats, o.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := draftOf(&babble{capacity: 9}).distrust(ctx, ctx.Err()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// greedier gives more guesses than it is asked for.
type greedier struct{ wild }

func (g *greedier) Propose(context.Context, int) ([]int32, error) { return make([]int32, 100), nil }

func TestMoreGuessesThanAskedForAreLeftOut(t *testing.T) {
	m := &babble{capacity: 100, order: 1, spread: 1, run: 1e9, row: 1e7}
	q := request(1, 2, 3)
	q.Ends, q.MaxTokens, q.Now, q.Proposers = nil, 60, m.now, []Proposer{&greedier{}}
	if o := generate(t, m, q, 0, 0); o.err != nil || len(o.ids) != 60 || o.stats.Proposed == 0 || o.stats.Proposed > 60*RowsMax {
		t.Errorf("got %d tokens, %+v, %v", len(o.ids), o.stats, o.err)
	}
}
