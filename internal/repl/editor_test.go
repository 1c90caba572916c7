package repl

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		typed string
		want  []press
	}{
		{"ab", []press{{insert, "ab"}}},
		{"a\r", []press{{insert, "a"}, {submit, ""}}},
		{"a\n", []press{{insert, "a"}, {submit, ""}}},
		{"é世", []press{{insert, "é世"}}},
		{"\xff", []press{{insert, "\ufffd"}}},
		{"\x01\x02\x03\x04\x05\x06", []press{{home, ""}, {left, ""}, {interrupt, ""}, {endOfInput, ""}, {end, ""}, {right, ""}}},
		{"\x1a", []press{{suspend, ""}}},
		{"\x08\x7f\t", []press{{backspace, ""}, {backspace, ""}, {complete, ""}}},
		{"\x0b\x0c\x0e\x10\x15\x17", []press{{cutRight, ""}, {redraw, ""}, {down, ""}, {up, ""}, {cutLeft, ""}, {cutWord, ""}}},
		{"\x1b[A\x1bOB\x1b[C\x1b[D", []press{{up, ""}, {down, ""}, {right, ""}, {left, ""}}},
		{"\x1b[1;5C\x1b[1;3D\x1bb\x1bf", []press{{wordRight, ""}, {wordLeft, ""}, {wordLeft, ""}, {wordRight, ""}}},
		{"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH\x1b[3~", []press{{home, ""}, {end, ""}, {home, ""}, {end, ""}, {home, ""}, {del, ""}}},
		{"\x1b\r\x1b\x7f", []press{{newline, ""}, {cutWord, ""}}},
		{"\x1b[15~x", []press{{nothing, ""}, {insert, "x"}}},
		{"\x1b[\x03", []press{{nothing, ""}, {interrupt, ""}}},
		{"\x1b\x1b[A", []press{{nothing, ""}, {up, ""}}},
		{pasteBegins + "a\r\nb\rc\x1b[31m" + pasteEnds + "d", []press{{insert, "a\nb\nc[31m"}, {insert, "d"}}},
		{"\x1b", nil},
		{"\x1b[", nil},
		{"\x1b[1;5", nil},
		{"\xe4\xb8", nil},
		{pasteBegins + "half", nil},
	} {
		var got []press
		for b := []byte(c.typed); len(b) > 0; {
			p, n := next(b)
			if n == 0 {
				break
			}
			got = append(got, p)
			b = b[n:]
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v, want %v", c.typed, got, c.want)
		}
	}
}

// keyed plays keys on an editor; the result has | at the cursor.
func keyed(e *editor, keys string) string {
	for b := []byte(keys); len(b) > 0; {
		p, n := next(b)
		if n == 0 {
			break
		}
		e.do(p)
		b = b[n:]
	}
	return e.text[:e.at] + "|" + e.text[e.at:]
}

func TestEditing(t *testing.T) {
	const family = "👨‍👩‍👧"
	for _, c := range []struct{ name, keys, want string }{
		{"insert in the middle", "ac\x1b[Db", "ab|c"},
		{"the ends of the line", "bc\x01a\x05d", "abcd|"},
		{"backspace at the beginning", "a\x01\x7f", "|a"},
		{"delete at the end", "a\x04\x1b[3~", "a|"},
		{"delete under the cursor", "abc\x01\x04", "|bc"},
		{"a family is one character", "a" + family + "\x1b[D", "a|" + family},
		{"and is deleted as one", "a" + family + "\x7f", "a|"},
		{"an accent belongs to its letter", "e\u0301x\x1b[D\x1b[D", "|e\u0301x"},
		{"words to the left", "one two, three\x1bb\x1bb", "one |two, three"},
		{"words to the right", "one two\x01\x1bf\x1bf", "one two|"},
		{"cut a word", "one two  \x17", "one |"},
		{"cut to the left", "one two\x1bb\x15", "|two"},
		{"cut to the right", "one two\x1bb\x0b", "one |"},
		{"left over a line's beginning", "a\x1b\rb\x1b[D\x1b[D", "a|\nb"},
		{"right over a line's end", "a\x1b\rb\x10\x05\x1b[C", "a\n|b"},
		{"backspace joins lines", "a\x1b\rb\x1b[D\x7f", "a|b"},
		{"up keeps the column", "abc\x1b\rde\x10", "ab|c\nde"},
		{"up to a shorter line", "a\x1b\rdef\x10", "a|\ndef"},
		{"down again", "a\x1b\rdef\x10\x0e", "a\nd|ef"},
		{"home is of the line", "a\x1b\rbc\x01", "a\n|bc"},
		{"a paste in the middle", "ad\x1b[D" + pasteBegins + "b\nc" + pasteEnds, "ab\nc|d"},
	} {
		if got := keyed(&editor{}, c.keys); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHistory(t *testing.T) {
	const up, down = "\x1b[A", "\x1b[B"
	for _, c := range []struct{ name, keys, want string }{
		{"the newest", up, "two|"},
		{"further back", up + up, "one|"},
		{"not beyond the oldest", up + up + up + up, "one|"},
		{"back to what was typed", "dra" + up + up + down + down, "dra|"},
		{"not beyond it", "dra" + down, "dra|"},
		{"changed and sent on", up + "!", "two!|"},
	} {
		e := &editor{history: []string{"one", "two"}}
		if got := keyed(e, c.keys); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		text        string
		at          int
		rows        []string
		row, column int
	}{
		{"", 0, []string{"> "}, 0, 2},
		{"abc", 1, []string{"> abc"}, 0, 3},
		{"1234567", 7, []string{"> 1234567"}, 0, 9},
		{"12345678", 8, []string{"> 1234567", "8"}, 1, 1},
		{"12345678", 7, []string{"> 1234567", "8"}, 1, 0},
		{"123456世", 6, []string{"> 123456", "世"}, 1, 0},
		{"a\nb", 2, []string{"> a", "  b"}, 1, 2},
		{"a\n", 1, []string{"> a", "  "}, 0, 3},
		{"a\tb", 2, []string{"> a    b"}, 0, 7},
	} {
		e := &editor{text: c.text, at: c.at}
		rows, row, column := e.layout(10)
		if !slices.Equal(rows, c.rows) || row != c.row || column != c.column {
			t.Errorf("%q with the cursor at %d: got %q, cursor %d,%d; want %q, %d,%d", c.text, c.at, rows, row, column, c.rows, c.row, c.column)
		}
	}
}

// After a terminal became narrower, the rows above the cursor take more lines than were drawn.
func TestHomeAfterTheTerminalChanged(t *testing.T) {
	s := &Screen{drawn: []int{60, 10, 75}, row: 2, column: 45}
	for width, want := range map[int]string{80: "\r\x1b[2A", 60: "\r\x1b[2A", 40: "\r\x1b[4A", 30: "\r\x1b[4A"} {
		if got := s.home(width); got != want {
			t.Errorf("at %d columns: got %q, want %q", width, got, want)
		}
	}
}

func FuzzEditor(f *testing.F) {
	f.Add("abc\x1b[D\x7f\x1b[A", 20)
	f.Add(pasteBegins+"a\r\nb"+pasteEnds+"\x10\x17", 5)
	f.Add("e\u0301👨‍👩‍👧\x1b[D\x1b\x1b[\xff\t", 1)
	f.Fuzz(func(t *testing.T, keys string, width int) {
		width = 1 + min(max(width, 0), 200)
		e := &editor{history: []string{"one", "two\nlines"}}
		for b := []byte(keys); len(b) > 0; {
			p, n := next(b)
			if n == 0 {
				break
			}
			b = b[n:]
			e.do(p)
			e.complete(func(text string) (int, []string) { return len(text), nil })
			if e.at < 0 || e.at > len(e.text) || !utf8.ValidString(e.text) || e.text != tidy(e.text) {
				t.Fatalf("after %q the text is %q with the cursor at %d", keys, e.text, e.at)
			}
			rows, row, column := e.layout(width)
			if row < 0 || row >= len(rows) || column < 0 {
				t.Fatalf("%q at width %d: cursor %d,%d in %d rows", e.text, width, row, column, len(rows))
			}
			for _, r := range rows {
				if w := uniseg.StringWidth(r); w >= max(width, 5) && uniseg.GraphemeClusterCount(r) > 1 && !strings.Contains(e.text, "\t") {
					t.Fatalf("%q at width %d has the row %q of %d columns", e.text, width, r, w)
				}
			}
		}
	})
}
