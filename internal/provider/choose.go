package provider

import (
	"errors"
	"fmt"
	"io"
)

// Verdict says what becomes of a session that was opened.
type Verdict int

// The verdicts.
const (
	Take   Verdict = iota
	Leave          // something else shall run the model
	Refuse         // an error
)

// A provider that holds less than half of the compute costs more in copies and waits than it saves. One that was asked for by name is
// expected to do nearly all of it: what is missing then is most likely a fault.
const (
	leastOfAny   = 0.5
	leastOfNamed = 0.9
)

// Judge says whether a candidate that holds a share of a model's compute may run it, and what there is to say about it.
func (w Wish) Judge(c Candidate, share float64) (v Verdict, why string) {
	if c.Kind == CPU {
		return Take, ""
	}
	holds := fmt.Sprintf("%s holds %.1f %% of this model's compute", c.Name, share*100)
	switch {
	case w.Least > 0 && share < w.Least:
		return Refuse, fmt.Sprintf("%s, at least %.4g %% is required (--require-provider)", holds, w.Least*100)
	case w.Force && share < leastOfNamed:
		return Take, holds + ", the CPU the rest: it runs because of --force"
	case w.Force, w.Least > 0:
		return Take, ""
	case share < leastOfAny && (!w.named() || c.Kind == CoreML):
		return Leave, holds + ", less than half (--force runs it all the same)"
	case share < leastOfNamed && w.named() && c.Kind != CoreML:
		return Refuse, fmt.Sprintf("%s, at least %.4g %% is expected of one that is asked for by name (--force runs it all the same, --provider auto chooses)", holds, leastOfNamed*100)
	case share < leastOfNamed:
		return Take, holds + ", the CPU the rest"
	}
	return Take, ""
}

// ErrUnsuited says that a candidate has too little to do in a model to be worth opening: then something else runs it, even if the candidate
// was asked for by name.
var ErrUnsuited = errors.New("not made for it")

// Trial is how a candidate is tried.
type Trial[M io.Closer] struct {
	// Check says why a candidate cannot run any model, or computes wrong. It is not called for the CPU.
	Check func(Candidate) error
	// Open opens the model, and says what share of its compute the candidate truly holds.
	Open func(Candidate) (m M, share float64, err error)
	// Say tells the user why something is not as it could be.
	Say func(line string)
	// Final says of an error that no other provider would mend it.
	Final func(error) bool
}

// Choose opens a model with the first candidate that can run it, and says why those before it do not.
func Choose[M io.Closer](w Wish, t Trial[M]) (m M, c Candidate, err error) {
	chain, err := w.Chain()
	if err != nil {
		return m, c, err
	}
	if notice := w.Notice(); notice != "" {
		t.Say(notice)
	}
	return choose(w, chain, t)
}

func choose[M io.Closer](w Wish, chain []Candidate, t Trial[M]) (m M, c Candidate, err error) {
	if last := chain[len(chain)-1]; last.Kind == CoreML && w.named() { // which may leave a model to the CPU
		chain = append(chain, Candidate{Name: CPU, Kind: CPU})
	}
	for i := range chain {
		m, leave, err := attempt(w, chain[i], t)
		if err == nil {
			return m, chain[i], nil
		}
		if w.named() && !leave || i == len(chain)-1 || t.Final(err) {
			return m, chain[i], err
		}
		t.Say(fmt.Sprintf("%s does not run this model, %s is tried: %v", chain[i].Name, chain[i+1].Name, err))
	}
	return m, c, errors.New("provider: this binary has none")
}

// attempt tries one candidate; leave says that another shall run the model even if this one was asked for by name.
func attempt[M io.Closer](w Wish, c Candidate, t Trial[M]) (m M, leave bool, err error) {
	var none M
	if c.Kind != CPU {
		if err := t.Check(c); err != nil {
			return none, false, c.Explain(err)
		}
	}
	m, share, err := t.Open(c)
	if err != nil {
		return none, errors.Is(err, ErrUnsuited) && w.Least == 0, c.Explain(err)
	}
	v, why := w.Judge(c, share)
	if v == Take {
		if why != "" {
			t.Say(why)
		}
		return m, false, nil
	}
	return none, v == Leave, errors.Join(errors.New(why), m.Close())
}
