package bench

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Test is one row of the table. Prompt alone is ppN, Generate alone tgN, both pgN,M.
type Test struct {
	Kind     Kind
	Prompt   int // tokens to read
	Generate int // tokens to write after the first one
	Depth    int // tokens in the cache before
	Rows     int // sequences at once; 0 is 1
}

// Kind is what a test does beside reading and writing random tokens.
type Kind string

const (
	Plain Kind = ""
	Load  Kind = "load"  // opens the model
	Turn2 Kind = "turn2" // asks again in a conversation of Depth tokens: the time until its answer begins
	Saved Kind = "saved" // the same in another process: the time to take the conversation's keys and values up from a file
	Copy  Kind = "copy"  // writes what the prompt repeats, as an edit or a quotation does
)

const (
	turnFirst  = 1000 // tokens of the first question
	turnAnswer = 16   // tokens of its answer
	turnSecond = 32   // tokens of the second question
	copyTokens = 112  // of the passage at most
	copyTimes  = 3    // how often the prompt has it
	copyAnswer = 128  // tokens to write
	warmDepth  = 16   // tokens before a warm-up's at most
	warmAnswer = 8    // tokens of a warm-up at most
	countMax   = 1 << 24
	RowsMax    = 1024
)

// Passage is what Copy has the model repeat. Random tokens would not do: small models do not go on with them.
const Passage = `The keeper of the lighthouse wrote down the weather every morning. On Monday the wind came from the west, and three boats were on their way home. On Tuesday there was fog, so she lit the lamp at noon and rang the bell until evening. On Wednesday a ship from the north brought oil, flour, and a letter from her brother, who asked whether the garden behind the tower still had its old pear tree. She answered that it had lost one branch in the storm, but that the pears were sweet.

`

// String is the test in the field's notation: pp512, tg128 b8 @ d4096, pg512,128.
func (t Test) String() string {
	s := ""
	switch {
	case t.Kind != Plain:
		s = string(t.Kind)
	case t.Generate == 0:
		s = fmt.Sprintf("pp%d", t.Prompt)
	case t.Prompt == 0:
		s = fmt.Sprintf("tg%d", t.Generate)
	default:
		s = fmt.Sprintf("pg%d,%d", t.Prompt, t.Generate)
	}
	if t.Rows > 1 {
		s += fmt.Sprintf(" b%d", t.Rows)
	}
	if t.Depth > 0 && (!t.again() || t.Depth != turnFirst) {
		s += fmt.Sprintf(" @ d%d", t.Depth)
	}
	return s
}

var notation = regexp.MustCompile(`^(?:pp(\d+)|tg(\d+)|pg(\d+),(\d+)|load|turn2|saved|copy)(?: b(\d+))?(?: ?@ ?d(\d+))?$`)

// Parse reads what String writes; spaces around @ may be left out.
func Parse(name string) (t Test, err error) {
	m := notation.FindStringSubmatch(name)
	if m == nil {
		return t, fmt.Errorf("bench: read test %q: expected such as pp512, tg128, pg512,128, tg128 b8 @ d4096, load, turn2, saved or copy", name)
	}
	number := func(texts ...string) (n int) {
		for _, text := range texts {
			if text != "" {
				if n, err = strconv.Atoi(text); err != nil || n > countMax {
					n, err = 0, fmt.Errorf("bench: read test %q: %s is above %d", name, text, countMax)
				}
			}
		}
		return n
	}
	t = Test{Prompt: number(m[1], m[3]), Rows: number(m[5]), Depth: number(m[6])}
	t.Generate = number(m[2], m[4])
	switch {
	case strings.HasPrefix(name, string(Turn2)), strings.HasPrefix(name, string(Saved)):
		t.Kind, t.Prompt = Kind(name[:len(Turn2)]), turnSecond
		if t.Depth == 0 {
			t.Depth = turnFirst
		}
	case strings.HasPrefix(name, string(Copy)):
		t.Kind, t.Prompt, t.Generate = Copy, copyTokens*copyTimes, copyAnswer
	case strings.HasPrefix(name, string(Load)):
		t.Kind = Load
	}
	if err != nil {
		return Test{}, err
	}
	return t, t.check()
}

// check says what no test can do.
func (t Test) check() error {
	switch {
	case t.Kind == Plain && t.Prompt == 0 && t.Generate == 0:
		return fmt.Errorf("bench: read test %q: it has nothing to read or write", t)
	case t.Rows > RowsMax:
		return fmt.Errorf("bench: read test %q: %d rows, expected at most %d", t, t.Rows, RowsMax)
	case t.Rows > 1 && (t.Kind != Plain || t.Prompt > 0):
		return fmt.Errorf("bench: read test %q: only tgN is measured with several rows", t)
	case t.Depth > 0 && !t.again() && (t.Kind != Plain || t.Prompt > 0 && t.Generate > 0):
		return fmt.Errorf("bench: read test %q: only ppN, tgN, turn2 and saved have a depth", t)
	}
	return nil
}

// Tokens is the context that each row of the test needs.
func (t Test) Tokens() int {
	switch {
	case t.Kind == Load:
		return 0
	case t.again():
		return t.Depth + turnAnswer + t.Prompt + 1
	case t.Generate == 0:
		return t.Depth + t.Prompt + 1
	}
	return max(t.Depth+t.Prompt, 1) + t.Generate + 1
}

// again says whether the test goes on with a conversation.
func (t Test) again() bool { return t.Kind == Turn2 || t.Kind == Saved }

// warmup is the test with what is not its figure in brief, for memory to be touched and caches filled: what comes before an answer need
// not be long, nor the answer.
func (t Test) warmup() Test {
	if t.Generate > 0 || t.again() {
		t.Depth, t.Generate = min(t.Depth, warmDepth), min(t.Generate, warmAnswer)
	}
	return t
}

// unit is what the samples are in.
func (t Test) unit() string {
	if t.Kind == Load || t.again() {
		return UnitMS
	}
	return UnitRate
}
