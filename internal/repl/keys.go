package repl

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// action is what a key does.
type action int

const (
	nothing action = iota
	insert
	submit
	newline
	interrupt
	endOfInput // or delete, when there is something to delete
	left
	right
	wordLeft
	wordRight
	home
	end
	up
	down
	backspace
	del
	cutWord
	cutLeft
	cutRight
	complete
	redraw
	suspend
)

// press is a key, or a paste.
type press struct {
	action action
	text   string // of insert
}

// Bracketed paste: what a terminal puts around a text that was pasted, when asked to (xterm's control sequences, "Bracketed Paste Mode").
const (
	pasteBegins = "\x1b[200~"
	pasteEnds   = "\x1b[201~"
)

// next takes the first key from b and says how many bytes it has: 0 if more must come first.
func next(b []byte) (press, int) {
	switch c := b[0]; {
	case c == 0x1b:
		return escaped(b)
	case c < ' ' || c == 0x7f:
		return press{action: control(c)}, 1
	case !utf8.FullRune(b):
		return press{}, 0
	}
	n := 0
	for n < len(b) && b[n] >= ' ' && b[n] != 0x7f && utf8.FullRune(b[n:]) {
		_, size := utf8.DecodeRune(b[n:])
		n += size
	}
	return press{insert, tidy(string(b[:n]))}, n
}

func control(c byte) action {
	switch c {
	case '\r', '\n':
		return submit
	case '\t':
		return complete
	case 0x7f, 8:
		return backspace
	}
	switch c + 'A' - 1 {
	case 'A':
		return home
	case 'B':
		return left
	case 'C':
		return interrupt
	case 'D':
		return endOfInput
	case 'E':
		return end
	case 'F':
		return right
	case 'K':
		return cutRight
	case 'L':
		return redraw
	case 'N':
		return down
	case 'P':
		return up
	case 'U':
		return cutLeft
	case 'W':
		return cutWord
	case 'Z':
		return suspend
	}
	return nothing
}

// escaped reads what begins with an escape: a sequence of a key (ECMA-48, 5.4), a paste, or a key with Alt.
func escaped(b []byte) (press, int) {
	if len(b) < 2 {
		return press{}, 0
	}
	switch b[1] {
	case '\r', '\n':
		return press{action: newline}, 2
	case 'b':
		return press{action: wordLeft}, 2
	case 'f':
		return press{action: wordRight}, 2
	case 0x7f, 8:
		return press{action: cutWord}, 2
	case 0x1b:
		return press{}, 1
	case 'O':
		if len(b) < 3 {
			return press{}, 0
		}
		return press{action: sequence("", b[2])}, 3
	case '[':
	default:
		return press{}, 2
	}
	n := 2
	for n < len(b) && (b[n] < '@' || b[n] > '~') {
		if b[n] < ' ' || b[n] > '~' {
			return press{}, n // not a sequence: the rest is keys again
		}
		n++
	}
	if n == len(b) {
		return press{}, 0
	}
	n++
	if string(b[:n]) != pasteBegins {
		return press{action: sequence(string(b[2:n-1]), b[n-1])}, n
	}
	length := bytes.Index(b[n:], []byte(pasteEnds))
	if length < 0 {
		return press{}, 0
	}
	return press{insert, tidy(string(b[n : n+length]))}, n + length + len(pasteEnds)
}

// sequence is the key of a control sequence's parameters and last byte.
func sequence(parameters string, last byte) action {
	word := strings.HasSuffix(parameters, ";5") || strings.HasSuffix(parameters, ";3") // with Ctrl, with Alt
	switch last {
	case 'A':
		return up
	case 'B':
		return down
	case 'C':
		if word {
			return wordRight
		}
		return right
	case 'D':
		if word {
			return wordLeft
		}
		return left
	case 'H':
		return home
	case 'F':
		return end
	case '~':
		switch parameters {
		case "1", "7":
			return home
		case "4", "8":
			return end
		case "3":
			return del
		}
	}
	return nothing
}

// tidy is a text without what is no text: lines end in \n, tabs are kept, other control characters go.
func tidy(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, "\ufffd"))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}
