package decode

import (
	"context"
	"math/bits"
)

// Lookup guesses that what followed the sequence's last tokens before follows them again: in an answer that quotes or edits its prompt, or
// repeats itself. It makes the same guess whether it is asked to propose or not, so that it always knows how good its guesses are.
type Lookup struct {
	sequence []int32
	from     int       // place of the first guess in the sequence
	length   int       // tokens before from that are the sequence's last ones too; 0 is no guess
	chances  [7]chance // by the class of length
	odds     [RowsMax]float64
	guesses  []int32
}

// matchMax is the length of a match beyond which no longer one is looked for.
const matchMax = 32

// lookupOdds is what is expected of a guess after a match of 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31 and 32 tokens, before any was seen.
var lookupOdds = [7]float64{0, 0.2, 0.5, 0.7, 0.85, 0.95, 0.97}

func matchClass(length int) int { return bits.Len(uint(min(length, matchMax))) }

// Begin forgets the sequence before.
func (l *Lookup) Begin(context.Context, []int32) error {
	*l = Lookup{guesses: l.guesses}
	return nil
}

// Odds looks for the longest match.
func (l *Lookup) Odds(sequence []int32, most int) []float64 {
	l.learn(sequence)
	l.find(sequence)
	l.sequence = sequence
	if l.length == 0 {
		return nil
	}
	odds := l.odds[:max(min(most, len(l.odds)), 0)]
	for i := range odds {
		class := matchClass(l.length + i)
		odds[i] = l.chances[class].odds(lookupOdds[class])
	}
	return odds
}

// learn compares the last guess with what came. A sequence that did not grow was cut, and says nothing.
func (l *Lookup) learn(sequence []int32) {
	for i := len(l.sequence); l.length > 0 && i < len(sequence); i++ {
		right := sequence[l.from] == sequence[i]
		l.chances[matchClass(l.length)].note(right)
		if !right {
			l.length = 0
			return
		}
		l.from, l.length = l.from+1, l.length+1
	}
	if len(sequence) <= len(l.sequence) {
		l.length = 0
	}
}

// find looks for the longest match, and of several for the one nearest to where the last one was: a copy that left out or changed a
// word goes on there.
func (l *Lookup) find(sequence []int32) {
	if l.length >= matchMax { // the match before goes on
		return
	}
	near := l.from
	if l.sequence == nil || near == 0 {
		near = len(sequence)
	}
	l.length = 0
	for end := len(sequence) - 1; end > 0; end-- {
		if sequence[end-1] != sequence[len(sequence)-1] {
			continue
		}
		n := 1
		for n < min(end, matchMax) && sequence[end-1-n] == sequence[len(sequence)-1-n] {
			n++
		}
		if n > l.length || n == l.length && distance(end, near) < distance(l.from, near) {
			l.from, l.length = end, n
		}
	}
}

func distance(a, b int) int { return max(a-b, b-a) }

// Propose repeats what followed the match. Where that comes to the sequence's end, it goes on with its own guesses.
func (l *Lookup) Propose(_ context.Context, n int) ([]int32, error) {
	l.guesses = l.guesses[:0]
	for i := l.from; i < l.from+n; i++ {
		if i < len(l.sequence) {
			l.guesses = append(l.guesses, l.sequence[i])
		} else {
			l.guesses = append(l.guesses, l.guesses[i-len(l.sequence)])
		}
	}
	return l.guesses, nil
}
