package decode

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/sample"
)

const (
	vocab = 32
	end   = 31
)

// script is a model whose next token is one more than the last one it was fed. It counts what is asked of it.
type script struct {
	held     []int32
	capacity int
	feeds    int
	fed      int // tokens
	fault    int // the feed that gives NaN; 0 is none
	broken   int // the feed that fails
	rows     int // ids from here on are refused; 0 is none
	row      [vocab]float32
}

func (s *script) Capacity() int { return s.capacity }

func (s *script) Held() []int32 { return s.held }

func (s *script) Keep(n int) error {
	s.held = s.held[:n]
	return nil
}

var errBroken = errors.New("broken on purpose")

func (s *script) Feed(ctx context.Context, ids []int32) (sample.Logits, error) {
	s.feeds++
	if s.feeds == s.broken || s.rows > 0 && int(slices.Max(ids)) >= s.rows {
		return sample.Logits{}, errBroken
	}
	s.fed += len(ids)
	s.held = append(s.held, ids...)
	if len(s.held) > s.capacity {
		return sample.Logits{}, errors.New("fed more than the capacity")
	}
	return sample.Logits{F32: next(&s.row, s.held[len(s.held)-1], s.feeds == s.fault)}, nil
}

func next(row *[vocab]float32, last int32, fault bool) []float32 {
	clear(row[:])
	row[(last+1)%vocab] = 1
	if fault {
		row[3] = float32(math.NaN())
	}
	return row[:]
}

// letters shows each id as a letter, and holds the last one back until the next.
type letters struct{ held string }

func (l *letters) Push(id int32) (string, error) {
	out := l.held
	l.held = string(rune('a' + id%26))
	return out, nil
}

func (l *letters) Flush() (string, error) {
	out := l.held
	l.held = ""
	return out, nil
}

// clock ticks a second at every look.
func clock() func() time.Time {
	t := time.Unix(0, 0)
	return func() time.Time {
		t = t.Add(time.Second)
		return t
	}
}

func request(prompt ...int32) Request {
	return Request{
		Prompt: prompt, Sampler: sample.New(sample.Params{}, vocab, sample.Reference()), Text: &letters{}, Ends: []int32{end}, Now: clock(),
	}
}

func stops(t *testing.T, list ...string) Stops {
	t.Helper()
	s, err := chat.NewStops(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collect runs a request to its end.
func collect(t *testing.T, ctx context.Context, m Model, q Request) (ids []int32, text string, stats Stats, err error) {
	t.Helper()
	closed := false
	for token, e := range Generate(ctx, m, q) {
		if closed {
			t.Fatalf("token %+v after the closing one", token)
		}
		text += token.Text
		if err = e; token.Stats != nil {
			stats, closed = *token.Stats, true
			continue
		}
		ids = append(ids, token.ID)
	}
	if !closed {
		t.Fatal("the sequence ended without a closing token")
	}
	return ids, text, stats, err
}

func TestGenerateEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*testing.T, *Request)
		ids    []int32
		text   string
		finish Finish
		feeds  int
	}{
		{"end of text", func(t *testing.T, q *Request) { q.Prompt = []int32{27} }, []int32{28, 29, 30}, "cde", FinishEnd, 4},
		{"budget", func(t *testing.T, q *Request) { q.MaxTokens = 3 }, []int32{1, 2, 3}, "bcd", FinishLength, 3},
		{"end of the context", func(t *testing.T, q *Request) {}, []int32{1, 2, 3, 4, 5, 6, 7, 8, 9}, "bcdefghij", FinishLength, 9},
		{"stop string over two tokens", func(t *testing.T, q *Request) { q.Stops = stops(t, "de") }, []int32{1, 2, 3, 4, 5}, "bc", FinishStop, 5},
		{"stop string in what was held back", func(t *testing.T, q *Request) { q.MaxTokens, q.Stops = 3, stops(t, "d") }, []int32{1, 2, 3}, "bc", FinishStop, 3},
		{"a stop string's beginning is text at the end", func(t *testing.T, q *Request) { q.MaxTokens, q.Stops = 3, stops(t, "dx") }, []int32{1, 2, 3}, "bcd", FinishLength, 3},
		{"end ignored", func(t *testing.T, q *Request) { q.Prompt, q.IgnoreEnd, q.MaxTokens = []int32{29}, true, 4 }, []int32{30, 31, 0, 1}, "efab", FinishLength, 4},
		{"min tokens", func(t *testing.T, q *Request) { q.Prompt, q.MinTokens, q.MaxTokens = []int32{29}, 3, 3 }, []int32{30, 0, 1}, "eab", FinishLength, 3},
		{"tokens only", func(t *testing.T, q *Request) { q.Text, q.MaxTokens = nil, 2 }, []int32{1, 2}, "", FinishLength, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &script{capacity: 10}
			q := request(0)
			c.change(t, &q)
			ids, text, stats, err := collect(t, t.Context(), m, q)
			if err != nil || !slices.Equal(ids, c.ids) || text != c.text || stats.Finish != c.finish {
				t.Errorf("got %v %q %q %v, want %v %q %q", ids, text, stats.Finish, err, c.ids, c.text, c.finish)
			}
			if m.feeds != c.feeds {
				t.Errorf("the model was run %d times, want %d: nothing is computed after the last token", m.feeds, c.feeds)
			}
			if stats.PromptTokens != 1 || stats.Generated != len(c.ids) {
				t.Errorf("stats %+v, want 1 prompt token and %d generated", stats, len(c.ids))
			}
		})
	}
}

func TestGenerateRefusesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		name   string
		prompt int
		max    int
		want   string
	}{
		{"no prompt", 0, 1, "no tokens"},
		{"prompt alone", 10, 0, "10 tokens and up to 1 more are asked for, the context holds 10"},
		{"prompt and budget", 5, 6, "5 tokens and up to 6 more are asked for, the context holds 10"},
		{"budget beyond any context", 5, math.MaxInt, "the context holds 10"},
		{"negative budget", 5, -1, "must not be negative"},
	} {
		m := &script{capacity: 10}
		q := request(make([]int32, c.prompt)...)
		q.MaxTokens = c.max
		_, text, stats, err := collect(t, t.Context(), m, q)
		if err == nil || !strings.Contains(err.Error(), c.want) || text != "" || stats.Finish != FinishError || m.feeds != 0 {
			t.Errorf("%s: got %q, %q, %v after %d runs; want an error with %q and no run", c.name, text, stats.Finish, err, m.feeds, c.want)
		}
	}
}

func TestOverflow(t *testing.T) {
	long := []int32{9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, 3}
	t.Run("truncate drops the oldest", func(t *testing.T) {
		m := &script{capacity: 10}
		q := request(long...)
		q.MaxTokens, q.Overflow = 4, OverflowTruncate
		ids, _, stats, err := collect(t, t.Context(), m, q)
		if err != nil || !slices.Equal(ids, []int32{4, 5, 6, 7}) || stats.Dropped != 6 || stats.PromptTokens != 6 {
			t.Errorf("got %v %+v %v, want 4 tokens after 6 of the prompt were dropped", ids, stats, err)
		}
		if !slices.Equal(m.held[:6], long[6:]) {
			t.Errorf("the model holds %v, want it to begin with %v", m.held, long[6:])
		}
	})
	t.Run("truncate leaves room for an answer without a budget", func(t *testing.T) {
		m := &script{capacity: 8}
		q := request(long...)
		q.Overflow = OverflowTruncate
		ids, _, stats, err := collect(t, t.Context(), m, q)
		if err != nil || len(ids) != 3 || stats.Dropped != len(long)-5 || stats.PromptTokens != 5 {
			t.Errorf("got %v %+v %v, want 3 tokens after all but 5 of the prompt were dropped", ids, stats, err)
		}
	})
	t.Run("shift goes on past the context", func(t *testing.T) {
		m := &script{capacity: 10}
		q := request(0, 1)
		q.MaxTokens, q.Overflow = 25, OverflowShift
		ids, _, stats, err := collect(t, t.Context(), m, q)
		if err != nil || len(ids) != 25 || stats.Dropped == 0 {
			t.Errorf("got %d tokens, %+v, %v; want 25 with some dropped", len(ids), stats, err)
		}
		for i, id := range ids {
			if id != int32(i+2) {
				t.Fatalf("token %d is %d, want %d", i, id, i+2)
			}
		}
	})
	t.Run("shift takes the end of a long prompt", func(t *testing.T) {
		m := &script{capacity: 10}
		q := request(long...)
		q.MaxTokens, q.Overflow = 2, OverflowShift
		ids, _, stats, err := collect(t, t.Context(), m, q)
		if err != nil || !slices.Equal(ids, []int32{4, 5}) || stats.Dropped != 7 {
			t.Errorf("got %v %+v %v, want [4 5] after 7 were dropped", ids, stats, err)
		}
	})
	t.Run("truncate leaves that room for a prompt that would just fit, too", func(t *testing.T) {
		m := &script{capacity: 8}
		q := request(long[5:]...) // 7 tokens
		q.Overflow = OverflowTruncate
		ids, _, stats, err := collect(t, t.Context(), m, q)
		if err != nil || len(ids) != 3 || stats.Dropped != 2 || stats.PromptTokens != 5 {
			t.Errorf("got %v %+v %v, want 3 tokens after 2 of the prompt were dropped", ids, stats, err)
		}
	})
	t.Run("nothing fits a context of one token", func(t *testing.T) {
		for _, overflow := range []Overflow{OverflowError, OverflowTruncate, OverflowShift} {
			for _, prompt := range [][]int32{{1}, {1, 2, 3}} {
				q := request(prompt...)
				q.Overflow = overflow
				if ids, _, _, err := collect(t, t.Context(), &script{capacity: 1}, q); !errors.Is(err, ErrContext) || len(ids) > 0 {
					t.Errorf("overflow rule %d, prompt %v: got %v, %v; want no token and ErrContext", overflow, prompt, ids, err)
				}
			}
		}
	})
}

func TestGenerateFaults(t *testing.T) {
	t.Run("G-09 the model fails", func(t *testing.T) {
		m := &script{capacity: 10, broken: 3}
		ids, text, stats, err := collect(t, t.Context(), m, request(0))
		if !errors.Is(err, errBroken) || len(ids) != 2 || text != "bc" || stats.Finish != FinishError {
			t.Errorf("got %v %q %q %v, want two tokens, their text, then the model's error", ids, text, stats.Finish, err)
		}
	})
	t.Run("M-08 NaN logits", func(t *testing.T) {
		m := &script{capacity: 10, fault: 3}
		ids, _, stats, err := collect(t, t.Context(), m, request(0))
		if !errors.Is(err, sample.ErrNumeric) || len(ids) != 2 || stats.Finish != FinishError {
			t.Errorf("got %v %q %v, want two tokens, then ErrNumeric", ids, stats.Finish, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		m := &script{capacity: 10}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		var last Token
		var lastErr error
		for token, err := range Generate(ctx, m, request(0)) {
			if n++; n == 3 {
				cancel()
			}
			last, lastErr = token, err
		}
		if !errors.Is(lastErr, context.Canceled) || last.Stats == nil || last.Stats.Finish != FinishCancelled || m.feeds != 3 || last.Text != "d" {
			t.Errorf("got %+v, %v after %d runs; want cancelled after 3, with the text that was held back", last, lastErr, m.feeds)
		}
	})
	t.Run("the caller leaves", func(t *testing.T) {
		m := &script{capacity: 10}
		for range Generate(t.Context(), m, request(0)) {
			break
		}
		if m.feeds != 1 {
			t.Errorf("the model was run %d times, want 1", m.feeds)
		}
	})
}

func TestGenerateReusesWhatTheModelHolds(t *testing.T) {
	m := &script{capacity: 40}
	turn := func(cold bool, prompt ...int32) (fed int, stats Stats) {
		t.Helper()
		before := m.fed
		q := request(prompt...)
		q.MaxTokens, q.Cold = 3, cold
		ids, _, stats, err := collect(t, t.Context(), m, q)
		last := prompt[len(prompt)-1]
		if err != nil || !slices.Equal(ids, []int32{last + 1, last + 2, last + 3}) {
			t.Fatalf("prompt %v: got %v, %v", prompt, ids, err)
		}
		if !slices.Equal(m.held[:len(prompt)], prompt) {
			t.Fatalf("prompt %v: the model holds %v", prompt, m.held)
		}
		return m.fed - before, stats
	}
	for _, c := range []struct {
		name   string
		cold   bool
		prompt []int32
		reused int
	}{
		{"first", false, []int32{1, 2, 3}, 0},
		{"goes on: the answer is held too, but for its last token", false, []int32{1, 2, 3, 4, 5, 6, 20}, 5},
		{"the same again: its last token is computed", false, []int32{1, 2, 3, 4, 5, 6, 20}, 6},
		{"parts in the middle", false, []int32{1, 2, 9, 10}, 2},
		{"a beginning of what is held", false, []int32{1, 2}, 1},
		{"another", false, []int32{7, 8}, 0},
		{"cold", true, []int32{7, 8, 9}, 0},
	} {
		fed, stats := turn(c.cold, c.prompt...)
		if stats.Reused != c.reused || fed != len(c.prompt)-c.reused+2 {
			t.Errorf("%s: reused %d and fed %d, want %d and %d", c.name, stats.Reused, fed, c.reused, len(c.prompt)-c.reused+2)
		}
	}
	m.fault = m.feeds + 2
	if _, _, _, err := collect(t, t.Context(), m, request(7, 8, 9)); err == nil || len(m.held) != 0 {
		t.Errorf("after a numeric fault (%v) the model still holds %v", err, m.held)
	}
}

func TestStatsTimes(t *testing.T) {
	q := request(0)
	q.MaxTokens = 3
	_, _, stats, _ := collect(t, t.Context(), &script{capacity: 10}, q)
	// looks at the clock: start 1, prefilled 2, tokens 3, 4, 5
	if stats.Prefill != time.Second || stats.FirstToken != 2*time.Second || stats.Decode != 2*time.Second {
		t.Errorf("stats %+v, want prefill 1s, first token 2s, decode 2s", stats)
	}
	if stats.PrefillRate() != 1 || stats.DecodeRate() != 1 {
		t.Errorf("rates %v and %v, want 1 and 1 a second", stats.PrefillRate(), stats.DecodeRate())
	}
	if (Stats{}).DecodeRate() != 0 || (Stats{}).PrefillRate() != 0 {
		t.Error("a request that did nothing has a rate")
	}
}
