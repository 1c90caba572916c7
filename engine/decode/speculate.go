package decode

import (
	"context"
	"errors"
	"math/bits"

	"github.com/shammah/shammah-engine/engine/sample"
)

// RowsMax is how many tokens a WideModel takes at once.
const RowsMax = 32

// WideModel can give the logits of several tokens in one run: what speculation needs. Each row must be, to the last bit, what a run of its
// token alone gives; then the tokens of an answer do not depend on what was guessed.
type WideModel interface {
	Model
	// FeedRows appends ids, at most RowsMax, and gives the logits of each, valid until the next Feed or FeedRows.
	FeedRows(ctx context.Context, ids []int32) ([]sample.Logits, error)
}

// Proposer guesses how a sequence goes on. What it guessed right it sees from the sequence itself. It is not safe for concurrent use.
type Proposer interface {
	// Begin takes the prompt of a sequence.
	Begin(ctx context.Context, prompt []int32) error
	// Odds takes the sequence so far, which stays as it is until the next call, and says of each token that follows, at most most of
	// them, how likely a guess would be right, given that those before it are. None: there is no guess. Valid until the next call.
	Odds(sequence []int32, most int) []float64
	// Propose guesses the next n tokens, or fewer.
	Propose(ctx context.Context, n int) ([]int32, error)
}

// What speculation may lose against plain decoding: a share of the time of all runs, and a little at the start, in runs. What was won can be
// risked too, up to a limit.
const (
	lossShare = 0.01
	lossStart = 0.25
	riskMost  = 16
)

// runsFirst is how many runs of one row come before any guess: the fastest of them is what a run is taken to cost.
const runsFirst = 2

// heldUp times what was expected is the most that a run counts for: one that took longer was held up by something else.
const heldUp = 2

// rowCost is what a further row adds to a run before that was measured, in runs of one row. A guess is free until it was measured.
const rowCost = 0.15

// speculate prepares for those who guess.
func (g *generation) speculate(proposers []Proposer) error {
	if len(proposers) == 0 {
		return nil
	}
	wide, ok := g.model.(WideModel)
	if !ok {
		return errors.New("decode: generate: guesses were asked for, which this model cannot verify: it gives the logits of one token a run")
	}
	g.wide, g.spec = wide, newSpeculation(proposers)
	return nil
}

// step feeds the token that was drawn last, and behind it what is guessed to follow: no more than the budget and the context have room for.
func (g *generation) step(last int32) (rows []sample.Logits, guess []int32, err error) {
	held := g.model.Held()
	room := g.model.Capacity() - len(held) - 1
	if g.spec == nil || room < 0 { // full: feed makes room
		g.fed = append(g.fed[:0], last)
		rows, err = g.feed(g.fed)
		return rows, nil, err
	}
	if err = g.ctx.Err(); err != nil {
		return nil, nil, err
	}
	g.whole = append(append(g.whole[:0], held...), last)
	who, n := g.spec.choose(g.whole, min(RowsMax-1, room, g.limit-g.stats.Generated-1))
	start := g.now()
	if n > 0 {
		if guess, err = g.spec.proposers[who].Propose(g.ctx, n); err != nil {
			return nil, nil, err
		}
		guess = guess[:min(len(guess), n)]
	}
	guessed := g.now()
	if n > 0 {
		g.spec.guessed(who, max(len(guess), 1), guessed.Sub(start).Seconds())
	}
	g.fed = append(append(g.fed[:0], last), guess...)
	if rows, err = g.wide.FeedRows(g.ctx, g.fed); err != nil {
		return nil, nil, err
	}
	g.stats.Proposed += len(guess)
	g.spec.ran(len(guess), g.now().Sub(guessed).Seconds())
	return rows, guess, nil
}

// speculation decides how many guesses a run takes, from what runs cost and how often guesses were right. Times are in seconds, and smoothed:
// a machine does many things at once, and what held one run up is no reason to stop guessing.
type speculation struct {
	proposers []Proposer
	guess     []float64   // what one guess of each proposer costs
	runs      int         // of one row
	run       float64     // what one of them costs
	rows      [5]measured // what each further row adds, by the number of guesses: 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31
	credit    float64     // what may be lost
}

// measured is a time that was measured so many times.
type measured struct {
	seconds float64
	times   int
}

func newSpeculation(proposers []Proposer) *speculation {
	return &speculation{proposers: proposers, guess: make([]float64, len(proposers))}
}

// begin shows the prompt to all who guess.
func (s *speculation) begin(ctx context.Context, prompt []int32) error {
	for _, p := range s.proposers {
		if err := p.Begin(ctx, prompt); err != nil {
			return err
		}
	}
	return nil
}

// choose says who shall guess how many tokens, so that tokens come soonest by all that is known; 0 where plain decoding does.
func (s *speculation) choose(sequence []int32, most int) (who, n int) {
	best := 1.0 // tokens in the time of a run of one row
	for i, p := range s.proposers {
		chance, right := 1.0, 0.0
		for j, odds := range p.Odds(sequence, most) {
			if s.runs < runsFirst || s.run == 0 { // they have seen the sequence; nothing more can be said yet
				break
			}
			chance *= odds
			right += chance
			cost := s.cost(i, j+1)
			if cost > s.credit {
				break
			}
			if rate := (1 + right) / (1 + cost/s.run); rate > best {
				best, who, n = rate, i, j+1
			}
		}
	}
	return who, n
}

// cost is what n guesses add to a run.
func (s *speculation) cost(who, n int) float64 {
	return float64(n) * (s.guess[who] + s.rowCost(n))
}

// rowCost is what each of n further rows adds to a run: as it was measured for as many, or else for fewer.
func (s *speculation) rowCost(n int) float64 {
	for class := rowClass(n); class >= 0; class-- {
		if s.rows[class].times > 0 {
			return max(s.rows[class].seconds, 0)
		}
	}
	return rowCost * s.run
}

func rowClass(n int) int { return bits.Len(uint(n)) - 1 }

// guessed notes what n guesses took.
func (s *speculation) guessed(who, n int, took float64) {
	each := took / float64(n)
	if s.guess[who] == 0 {
		s.guess[who] = each
	}
	s.guess[who] = follow(s.guess[who], each)
	s.earn(-float64(n) * s.guess[who])
}

// ran notes what a run with n guesses took.
func (s *speculation) ran(n int, took float64) {
	if n == 0 {
		s.plain(took)
		return
	}
	more, expected := float64(n), s.rowCost(n)
	took = min(took, heldUp*(s.run+more*expected))
	r := &s.rows[rowClass(n)]
	if r.times++; r.times == 1 {
		r.seconds = expected
	}
	if each := (took - s.run) / more; r.times < 4 { // the mean, with what was expected as the first of them
		r.seconds += (each - r.seconds) / float64(r.times+1)
	} else {
		r.seconds = follow(r.seconds, each)
	}
	s.earn(lossShare*s.run - more*s.rowCost(n))
}

// plain notes what a run of one row took. What was learnt of longer runs loses weight, so that they are tried again one day.
func (s *speculation) plain(took float64) {
	if s.runs++; s.runs <= runsFirst {
		if s.runs == 1 || took < s.run {
			s.run = took
		}
		s.credit = lossStart * s.run
		return
	}
	s.run = follow(s.run, min(took, heldUp*s.run))
	for class := range s.rows {
		s.rows[class].seconds += (rowCost*s.run - s.rows[class].seconds) / 128
	}
	s.earn(lossShare * s.run)
}

// accepted notes how many guesses were right: so many runs were saved.
func (s *speculation) accepted(n int) { s.earn(float64(n) * s.run) }

func (s *speculation) earn(seconds float64) { s.credit = min(s.credit+seconds, riskMost*s.run) }

// follow moves a measure towards a new value, and faster downwards: what slows a run down is often not of the run.
func follow(old, now float64) float64 {
	if now < old {
		return old + (now-old)/4
	}
	return old + (now-old)/8
}

// chance is how often a guess was right, of late.
type chance struct{ right, all float64 }

func (c *chance) note(right bool) {
	const memory = 0.95
	c.right, c.all = c.right*memory, c.all*memory+1
	if right {
		c.right++
	}
}

// odds is the share that was right, where expected is what is known beforehand.
func (c *chance) odds(expected float64) float64 {
	const weight = 2
	return (c.right + weight*expected) / (c.all + weight)
}

// forget makes what was seen count less.
func (c *chance) forget() {
	const memory = 0.98
	c.right, c.all = c.right*memory, c.all*memory
}
