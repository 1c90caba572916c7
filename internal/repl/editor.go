package repl

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// editor is a text that is being typed. It knows no terminal. Places are offsets in bytes, always between two characters as a reader
// sees them (grapheme clusters).
type editor struct {
	text string
	at   int // the cursor

	history []string
	back    int    // how many entries back from the newest; 0 is what is being typed
	draft   string // what was being typed when the history was entered
}

func (e *editor) insert(text string) {
	e.text = e.text[:e.at] + text + e.text[e.at:]
	e.at += len(text)
}

func (e *editor) set(text string) { e.text, e.at = text, len(text) }

// delete removes what stands from one place to another.
func (e *editor) delete(from, to int) {
	e.text = e.text[:from] + e.text[to:]
	e.at = from
}

// lineStart is where the cursor's line begins.
func (e *editor) lineStart() int { return strings.LastIndexByte(e.text[:e.at], '\n') + 1 }

// lineEnd is where the cursor's line ends.
func (e *editor) lineEnd() int {
	if n := strings.IndexByte(e.text[e.at:], '\n'); n >= 0 {
		return e.at + n
	}
	return len(e.text)
}

// after is the place behind the character at the cursor.
func (e *editor) after() int {
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(e.text[e.at:], -1)
	return e.at + len(cluster)
}

// before is the place in front of the character left of the cursor.
func (e *editor) before() int {
	place := e.lineStart()
	if place == e.at {
		return max(place-1, 0)
	}
	last := place
	for rest, state := e.text[place:e.at], -1; rest != ""; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		last = e.at - len(rest) - len(cluster)
	}
	return last
}

// word is the place where the word left of the cursor begins, or, forward, where the one right of it ends.
func (e *editor) word(forward bool) int {
	place, inside := e.at, false
	for {
		var r rune
		var n int
		if forward {
			r, n = utf8.DecodeRuneInString(e.text[place:])
		} else {
			r, n = utf8.DecodeLastRuneInString(e.text[:place])
			n = -n
		}
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r)
		if n == 0 || inside && !letter {
			return place
		}
		inside = inside || letter
		place += n
	}
}

// recall shows an entry of the history, further back or less far.
func (e *editor) recall(step int) {
	to := e.back + step
	if to < 0 || to > len(e.history) {
		return
	}
	if e.back == 0 {
		e.draft = e.text
	}
	if e.back = to; to == 0 {
		e.set(e.draft)
		return
	}
	e.set(e.history[len(e.history)-to])
}

// vertical moves to the line above or below, or through the history when there is none.
func (e *editor) vertical(step int) {
	start, column := e.lineStart(), uniseg.GraphemeClusterCount(e.text[e.lineStart():e.at])
	switch {
	case step < 0 && start == 0:
		e.recall(1)
		return
	case step > 0 && e.lineEnd() == len(e.text):
		e.recall(-1)
		return
	case step < 0:
		e.at = start - 1
		e.at = e.lineStart()
	default:
		e.at = e.lineEnd() + 1
	}
	for last := e.lineEnd(); column > 0 && e.at < last; column-- {
		e.at = e.after()
	}
}

// do takes a key that changes the text or moves the cursor.
func (e *editor) do(p press) {
	switch p.action {
	case insert:
		e.insert(p.text)
	case newline:
		e.insert("\n")
	case left:
		e.at = e.before()
	case right:
		e.at = e.after()
	case wordLeft:
		e.at = e.word(false)
	case wordRight:
		e.at = e.word(true)
	case home:
		e.at = e.lineStart()
	case end:
		e.at = e.lineEnd()
	case up:
		e.vertical(-1)
	case down:
		e.vertical(1)
	case backspace:
		e.delete(e.before(), e.at)
	case del, endOfInput:
		e.delete(e.at, e.after())
	case cutWord:
		e.delete(e.word(false), e.at)
	case cutLeft:
		e.delete(e.lineStart(), e.at)
	case cutRight:
		e.delete(e.at, e.lineEnd())
	}
}

// complete takes over what completion gives for the text left of the cursor. When that changes nothing, it gives the words to choose from.
func (e *editor) complete(words func(text string) (int, []string)) (choice []string) {
	if e.at != len(e.text) {
		return nil
	}
	from, list := words(e.text)
	if len(list) == 0 {
		return nil
	}
	common := list[0]
	for _, word := range list {
		for !strings.HasPrefix(word, common) {
			_, size := utf8.DecodeLastRuneInString(common)
			common = common[:len(common)-size]
		}
	}
	if len(list) == 1 {
		common += " "
	}
	if e.text[:from]+common == e.text {
		return list
	}
	e.set(e.text[:from] + common)
	return nil
}

// layout breaks the text into rows of less than width columns, each with its prompt, and says where the cursor stands.
func (e *editor) layout(width int) (rows []string, row, column int) {
	width = max(width, len(promptFirst)+3) // a wide character must fit
	var b strings.Builder
	b.WriteString(promptFirst)
	taken := len(promptFirst)
	next := func(prompt string) {
		rows = append(rows, b.String())
		b.Reset()
		b.WriteString(prompt)
		taken = len(prompt)
	}
	place := 0
	for rest, state := e.text, -1; ; {
		if place == e.at {
			row, column = len(rows), taken
		}
		if rest == "" {
			return append(rows, b.String()), row, column
		}
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		from := place
		place += len(cluster)
		if cluster == "\n" {
			next(promptNext)
			continue
		}
		if cluster == "\t" {
			cluster, w = "    ", 4
		}
		if taken+w >= width {
			next("")
			if from == e.at {
				row, column = len(rows), 0
			}
		}
		b.WriteString(cluster)
		taken += w
	}
}
