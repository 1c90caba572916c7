package chat

import (
	"fmt"
	"unicode/utf8"
)

// Limits of stop strings: far more than anybody needs, and little enough that a hostile request costs nothing.
const (
	stopsMax     = 64
	stopBytesMax = 16 << 10
)

// Stops finds stop strings in a text that arrives in pieces, however it is cut. What could be the beginning of one is held back, no more.
//
// The text ends where the first stop string is complete; of two that are complete at the same byte, the longer one counts. Nothing of it is
// given out. It is not safe for concurrent use.
type Stops struct {
	patterns []pattern
	held     []byte // the longest end of the text that begins a stop string
	stopped  bool
}

// pattern is one stop string in the way of Knuth, Morris and Pratt.
type pattern struct {
	text    string
	fail    []int32 // fail[i]: the longest proper beginning of text[:i+1] that also ends it
	matched int32   // bytes of text that the end of the input equals
}

// NewStops makes a matcher. Strings that are empty, not UTF-8, too long or too many are refused; without any, all text goes through.
func NewStops(stops []string) (*Stops, error) {
	if len(stops) > stopsMax {
		return nil, fmt.Errorf("chat: read the stop strings: expected at most %d, found %d", stopsMax, len(stops))
	}
	s := &Stops{}
	for i, text := range stops {
		switch {
		case text == "":
			return nil, fmt.Errorf("chat: read the stop strings: number %d is empty", i+1)
		case len(text) > stopBytesMax:
			return nil, fmt.Errorf("chat: read the stop strings: number %d has %d bytes, expected at most %d", i+1, len(text), stopBytesMax)
		case !utf8.ValidString(text):
			return nil, fmt.Errorf("chat: read the stop strings: number %d is not valid UTF-8", i+1)
		}
		s.patterns = append(s.patterns, newPattern(text))
	}
	return s, nil
}

func newPattern(text string) pattern {
	p := pattern{text: text, fail: make([]int32, len(text))}
	for i := 1; i < len(text); i++ {
		p.step(text[i])
		p.fail[i] = p.matched
	}
	p.matched = 0
	return p
}

// step takes one byte and reports whether the pattern is complete.
func (p *pattern) step(c byte) bool {
	for p.matched > 0 && p.text[p.matched] != c {
		p.matched = p.fail[p.matched-1]
	}
	if p.text[p.matched] == c {
		p.matched++
	}
	return int(p.matched) == len(p.text)
}

// Push takes the next piece and gives the text that can be shown. After stopped, which stays, no more text comes.
func (s *Stops) Push(text string) (out string, stopped bool) {
	if s.stopped {
		return "", true
	}
	for i := range len(text) {
		if n := s.step(text[i]); n > 0 {
			out = s.cut(text[:i+1], n)
			s.stopped, s.held = true, nil
			return out, true
		}
	}
	hold := 0
	for i := range s.patterns {
		hold = max(hold, int(s.patterns[i].matched))
	}
	if hold == 0 && len(s.held) == 0 {
		return text, false
	}
	out = s.cut(text, hold)
	all := append(s.held, text...)
	s.held = append(s.held[:0], all[len(all)-hold:]...)
	return out, false
}

// step feeds a byte to every pattern and gives the length of the longest one that it completes.
func (s *Stops) step(c byte) (complete int) {
	for i := range s.patterns {
		if p := &s.patterns[i]; p.step(c) {
			complete = max(complete, len(p.text))
		}
	}
	return complete
}

// cut is what was held and text, without the last n bytes.
func (s *Stops) cut(text string, n int) string {
	keep := len(s.held) + len(text) - n
	if keep <= len(s.held) {
		return string(s.held[:keep])
	}
	return string(s.held) + text[:keep-len(s.held)]
}

// Flush gives what was held back when the text has ended without a stop string, and makes ready for another text.
func (s *Stops) Flush() string {
	out := string(s.held)
	s.held, s.stopped = s.held[:0], false
	for i := range s.patterns {
		s.patterns[i].matched = 0
	}
	return out
}
