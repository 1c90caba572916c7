package chat

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func newStops(t testing.TB, stops ...string) *Stops {
	t.Helper()
	s, err := NewStops(stops)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStops(t *testing.T) {
	long := strings.Repeat("ab", 5000)
	for _, c := range []struct {
		name    string
		stops   []string
		pieces  []string
		outs    []string // one for each piece, and the rest at the end
		stopped bool
	}{
		{"none", nil, []string{"a", "b"}, []string{"a", "b", ""}, false},
		{"in one piece", []string{"STOP"}, []string{"go STOP on"}, []string{"go ", ""}, true},
		{"across pieces", []string{"STOP"}, []string{"go ST", "OP on", "and on"}, []string{"go ", "", "", ""}, true},
		{"byte by byte", []string{"\n\n"}, []string{"a", "\n", "b", "\n", "\n", "c"}, []string{"a", "", "\nb", "", "", "", ""}, true},
		{"a beginning that goes on otherwise", []string{"abcd"}, []string{"xab", "cx"}, []string{"x", "abcx", ""}, false},
		{"a beginning at the end", []string{"abcd"}, []string{"xab", "c"}, []string{"x", "", "abc"}, false},
		{"a beginning inside a beginning", []string{"aab"}, []string{"aa", "a", "b"}, []string{"", "a", "", ""}, true},
		{"first complete wins", []string{"later", "soon"}, []string{"x soon later"}, []string{"x ", ""}, true},
		{"a short one inside a long one is complete first", []string{"abcd", "bc"}, []string{"xab", "cd"}, []string{"x", "a", ""}, true},
		{"a long one that ends together with a short one", []string{"c", "abc"}, []string{"xab", "c"}, []string{"x", "", ""}, true},
		{"beginning of another", []string{"ab", "abc"}, []string{"xabc"}, []string{"x", ""}, true},
		{"the same twice", []string{"ab", "ab"}, []string{"xabc"}, []string{"x", ""}, true},
		{"characters of several bytes", []string{"é!"}, []string{"caf", "\xc3", "\xa9", "!"}, []string{"caf", "", "", "", ""}, true},
		{"same first byte, other character", []string{"é"}, []string{"ü", "é"}, []string{"ü", "", ""}, true},
		{"half a character held back", []string{"👍🏽"}, []string{"a👍", "🏿"}, []string{"a", "👍🏿", ""}, false},
		{"NUL", []string{"\x00"}, []string{"a\x00b"}, []string{"a", ""}, true},
		{"10 kB", []string{long + "!"}, []string{long, "ab", "!x"}, []string{"", "ab", "", ""}, true},
		{"empty pieces", []string{"ab"}, []string{"", "a", "", "b"}, []string{"", "", "", "", ""}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStops(t, c.stops...)
			for range 2 { // the second time after Flush
				stopped := false
				for i, piece := range c.pieces {
					out, now := s.Push(piece)
					if out != c.outs[i] || stopped && !now {
						t.Errorf("piece %d %q: got %q, %v, want %q", i, piece, out, now, c.outs[i])
					}
					stopped = now
				}
				if rest := s.Flush(); rest != c.outs[len(c.pieces)] || stopped != c.stopped {
					t.Errorf("at the end: got %q, stopped %v; want %q, %v", rest, stopped, c.outs[len(c.pieces)], c.stopped)
				}
			}
		})
	}
}

func TestStopsRefused(t *testing.T) {
	for _, c := range []struct {
		stops []string
		want  string
	}{
		{[]string{""}, "number 1 is empty"},
		{[]string{"a", ""}, "number 2 is empty"},
		{[]string{"a\xc3"}, "number 1 is not valid UTF-8"},
		{[]string{strings.Repeat("a", stopBytesMax+1)}, "16385 bytes, expected at most 16384"},
		{strings.Split(strings.Repeat("a", stopsMax+1), ""), "at most 64, found 65"},
		{strings.Split(strings.Repeat("a", stopsMax), ""), ""},
		{[]string{strings.Repeat("a", stopBytesMax)}, ""},
	} {
		_, err := NewStops(c.stops)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d stops: got %v, want %q", len(c.stops), err, c.want)
		}
	}
}

// cut is the oracle: the whole text before the stop string that is complete first, the longer one of two.
func cut(text string, stops []string) (string, bool) {
	start, end := len(text), len(text)+1
	for _, stop := range stops {
		if at := strings.Index(text, stop); at >= 0 && (at+len(stop) < end || at+len(stop) == end && at < start) {
			start, end = at, at+len(stop)
		}
	}
	return text[:start], end <= len(text)
}

// begins is the longest end of text that a stop string begins with: what must be held back, and all that may.
func begins(text string, stops []string) int {
	most := 0
	for _, stop := range stops {
		for n := min(len(text), len(stop)-1); n > most; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				most = n
			}
		}
	}
	return most
}

func FuzzStops(f *testing.F) {
	f.Add("hello STOP world", "STOP", "TO", "wor", []byte{3, 1, 4})
	f.Add("aaaaab", "aab", "aaab", "b", []byte{1})
	f.Add("caf\u00e9 \u00fc", "\u00e9", "\u00fc", "f\u00e9", []byte{4, 1})
	f.Add("abcabcabd", "abcabd", "cab", "zz", []byte{2, 2, 9})
	f.Fuzz(func(t *testing.T, text, a, b, c string, cuts []byte) {
		stops := []string{a, b, c}
		if len(text) > 500 || len(cuts) > 500 {
			return // the oracle is slow
		}
		for _, stop := range stops {
			if stop == "" || !utf8.ValidString(stop) || len(stop) > stopBytesMax {
				if _, err := NewStops(stops); err == nil {
					t.Fatalf("%q was accepted", stop)
				}
				return
			}
		}
		s := newStops(t, stops...)
		want, wantStopped := cut(text, stops)
		shown, fed, stopped := "", 0, false
		for i := 0; fed < len(text) && !stopped; i++ {
			n := 1
			if len(cuts) > 0 {
				n = int(cuts[i%len(cuts)] % 16)
			}
			if i >= 2*len(text) {
				n = 1 // pieces of nothing, on and on
			}
			n = min(n, len(text)-fed)
			var out string
			out, stopped = s.Push(text[fed : fed+n])
			shown, fed = shown+out, fed+n
			if hold := begins(text[:fed], stops); !stopped && len(shown) != fed-hold {
				t.Fatalf("%q of %q, stops %q: %d bytes shown, want all but %d", text[:fed], text, stops, len(shown), hold)
			}
		}
		if shown += s.Flush(); shown != want || stopped != wantStopped {
			t.Fatalf("%q, stops %q: shown %q, stopped %v; want %q, %v", text, stops, shown, stopped, want, wantStopped)
		}
	})
}

func BenchmarkStops(b *testing.B) {
	s := newStops(b, "\n\nUser:", "<|im_end|>", "```", "###")
	for b.Loop() {
		if out, _ := s.Push(" token"); out == "" {
			b.Fatal("nothing came out")
		}
	}
}
