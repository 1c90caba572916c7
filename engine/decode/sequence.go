package decode

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/shammah/shammah-engine/engine/sample"
)

// sequence is what one request carries from token to token, alone or as a row of a batch.
type sequence struct {
	prompt    []int32
	sampler   *sample.Sampler
	text      Text
	stops     Stops
	ends      []int32
	maxTokens int // as asked for; 0 is none
	limit     int // tokens that may be generated
	minTokens int
	ignoreEnd bool
	overflow  Overflow
	cold      bool
	now       func() time.Time
	stats     Stats
	tail      string // text still held back when the sequence ended
}

func newSequence(q *Request, capacity int) *sequence {
	s := &sequence{
		prompt: q.Prompt, sampler: q.Sampler, text: q.Text, stops: q.Stops, ends: q.Ends,
		maxTokens: q.MaxTokens, limit: q.MaxTokens, minTokens: q.MinTokens, ignoreEnd: q.IgnoreEnd, overflow: q.Overflow, cold: q.Cold, now: q.Now,
	}
	if s.limit == 0 {
		s.limit = math.MaxInt
		if s.overflow != OverflowShift {
			s.limit = capacity
		}
	}
	s.stats.PromptTokens = len(q.Prompt)
	return s
}

// budget lowers the number of tokens that may be generated to n.
func (s *sequence) budget(n int) { s.limit = min(s.limit, n) }

// next samples a token and turns it into text. After done the sequence takes no more tokens, and last gives its closing Token.
// A Token with ID -1 is an end of text: there is nothing to show.
func (s *sequence) next(l sample.Logits) (t Token, done bool, err error) {
	var forbid []int32
	if s.stats.Generated < s.minTokens {
		forbid = s.ends
	}
	id, err := s.sampler.Next(l, forbid)
	if err != nil {
		return Token{ID: -1}, true, err
	}
	if !s.ignoreEnd && slices.Contains(s.ends, id) {
		s.stats.Finish = FinishEnd
		return Token{ID: -1}, true, s.flush()
	}
	s.stats.Generated++
	t = Token{ID: id}
	if s.text != nil {
		if t.Text, err = s.text.Push(id); err != nil {
			return t, true, err
		}
	}
	if s.stops != nil && t.Text != "" {
		var stopped bool
		if t.Text, stopped = s.stops.Push(t.Text); stopped {
			s.stats.Finish = FinishStop
			return t, true, nil
		}
	}
	if s.stats.Generated >= s.limit {
		s.stats.Finish = FinishLength
		return t, true, s.flush()
	}
	return t, false, nil
}

// flush collects the text that was held back, which may complete a stop string after all.
func (s *sequence) flush() error {
	if s.text == nil {
		return nil
	}
	rest, err := s.text.Flush()
	if err != nil {
		return err
	}
	if s.stops == nil {
		s.tail = rest
		return nil
	}
	shown, stopped := s.stops.Push(rest)
	s.tail = shown
	if stopped {
		s.stats.Finish = FinishStop
	} else {
		s.tail += s.stops.Flush()
	}
	return nil
}

// last is the closing Token of a sequence that ended well.
func (s *sequence) last() Token {
	stats := s.stats
	return Token{ID: -1, Text: s.tail, Stats: &stats}
}

// fail is the closing Token of a sequence that ended with err. Text that was held back is given out: it was generated.
func (s *sequence) fail(err error) Token {
	s.stats.Finish = FinishError
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		s.stats.Finish = FinishCancelled
	}
	finish := s.stats.Finish
	if s.stats.Generated > 0 && s.flush() != nil {
		s.tail = ""
	}
	s.stats.Finish = finish
	return s.last()
}
