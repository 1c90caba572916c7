package decode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/sample"
)

// scriptBatch is script for several rows. Row faulty gives NaN at its second step.
type scriptBatch struct {
	capacity, steps, broken, faulty int
	last                            []int32
	rows                            [][vocab]float32
}

func (s *scriptBatch) Capacity() int { return s.capacity }

func (s *scriptBatch) logits() []sample.Logits {
	out := make([]sample.Logits, len(s.last))
	for i, id := range s.last {
		out[i] = sample.Logits{F32: next(&s.rows[i], id, s.steps == 2 && i == s.faulty)}
	}
	return out
}

func (s *scriptBatch) Start(ctx context.Context, prompts [][]int32) ([]sample.Logits, error) {
	s.rows = make([][vocab]float32, len(prompts))
	for _, p := range prompts {
		s.last = append(s.last, p[len(p)-1])
	}
	return s.logits(), nil
}

func (s *scriptBatch) Step(ctx context.Context, ids []int32) ([]sample.Logits, error) {
	if s.steps++; s.steps == s.broken {
		return nil, errBroken
	}
	for i, id := range ids {
		if id >= 0 {
			s.last[i] = id
		}
	}
	return s.logits(), nil
}

type row struct {
	ids    []int32
	text   string
	finish Finish
	err    error
}

func collectBatch(t *testing.T, m BatchModel, requests []Request) []row {
	t.Helper()
	rows := make([]row, len(requests))
	for token, err := range GenerateBatch(t.Context(), m, requests) {
		if token.Row < 0 {
			t.Fatalf("the batch was refused: %v", err)
		}
		r := &rows[token.Row]
		if r.finish != "" {
			t.Fatalf("row %d: token %+v after the closing one", token.Row, token)
		}
		r.text += token.Text
		if token.Stats != nil {
			r.finish, r.err = token.Stats.Finish, err
			continue
		}
		r.ids = append(r.ids, token.ID)
	}
	return rows
}

func TestBatchRowsEqualSingleRuns(t *testing.T) {
	make4 := func() []Request {
		list := []Request{request(0), request(5, 6, 27), request(9), request(3, 3)}
		list[0].MaxTokens, list[2].MaxTokens, list[3].MaxTokens = 2, 7, 5
		list[3].Stops = stops(t, "g")
		return list
	}
	m := &scriptBatch{capacity: 20, faulty: -1}
	rows := collectBatch(t, m, make4())
	for i, q := range make4() {
		ids, text, stats, err := collect(t, t.Context(), &script{capacity: 20}, q)
		if r := rows[i]; !slices.Equal(r.ids, ids) || r.text != text || r.finish != stats.Finish || r.err != nil || err != nil {
			t.Errorf("row %d: batch %+v, single %v %q %q %v", i, r, ids, text, stats.Finish, err)
		}
	}
	if m.steps != 6 {
		t.Errorf("the batch took %d steps, want 6: those of its longest row", m.steps)
	}
}

func TestBatchFaults(t *testing.T) {
	budget := func(n int, list ...Request) []Request {
		for i := range list {
			list[i].MaxTokens = n
		}
		return list
	}
	t.Run("one row's NaN is that row's error", func(t *testing.T) {
		rows := collectBatch(t, &scriptBatch{capacity: 20, faulty: 1}, budget(5, request(0), request(1)))
		if !errors.Is(rows[1].err, sample.ErrNumeric) || len(rows[1].ids) != 2 || rows[0].err != nil || len(rows[0].ids) != 5 {
			t.Errorf("got %+v, want row 1 to end after two tokens and row 0 to go on", rows)
		}
	})
	t.Run("the model's error ends every open row", func(t *testing.T) {
		rows := collectBatch(t, &scriptBatch{capacity: 20, faulty: -1, broken: 2}, budget(5, request(0), request(28)))
		for i, r := range rows {
			if !errors.Is(r.err, errBroken) || len(r.ids) != 2 {
				t.Errorf("row %d: got %+v, want two tokens, then the model's error", i, r)
			}
		}
	})
}

func TestBatchRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]Request)
		want   string
	}{
		{"empty prompt", func(q []Request) { q[1].Prompt = nil }, "prompt 1 has no tokens"},
		{"too long together", func(q []Request) { q[0].Prompt, q[1].MaxTokens = make([]int32, 6), 5 }, "the longest prompt has 6 tokens and up to 5 more"},
		{"another overflow rule", func(q []Request) { q[1].Overflow = OverflowShift }, "prompt 1: a batch refuses"},
		{"negative", func(q []Request) { q[0].MinTokens = -1 }, "must not be negative"},
	} {
		requests := []Request{request(1), request(2)}
		c.change(requests)
		n := 0
		for token, err := range GenerateBatch(t.Context(), &scriptBatch{capacity: 10}, requests) {
			if n++; token.Row != -1 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got row %d, %v; want an error with %q", c.name, token.Row, err, c.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d results, want one error", c.name, n)
		}
	}
	for range GenerateBatch(t.Context(), &scriptBatch{capacity: 10}, nil) {
		t.Error("an empty batch gave a token")
	}
}
