package text

import (
	"strings"
	"testing"
)

func TestPiecesAreBytesNotIDs(t *testing.T) {
	p := newPieces(4)
	long := strings.Repeat("x", pieceBytesMax+1)
	for i, c := range []struct {
		id   int32
		text string
	}{{1, "one"}, {1, "one"}, {1, "other"}, {5, "same slot"}, {1, "one"}, {2, ""}, {2, "a"}, {3, long}, {3, long}, {0, "\xe2\x82"}} {
		if got := p.text(c.id, []byte(c.text)); got != c.text {
			t.Errorf("step %d, token %d: got %q, want %q", i, c.id, got, c.text)
		}
	}
	bytes := []byte("kept")
	kept := p.text(2, bytes)
	bytes[0] = 'x' // the stream's memory is lent
	if again := p.text(2, []byte("kept")); kept != "kept" || again != "kept" {
		t.Errorf("got %q and %q after the lent bytes changed, want them kept", kept, again)
	}
}

// A token that gives the text that it gave before costs nothing in Go: a conversation repeats its tokens.
func TestPushOfAKnownTokenAllocatesNothing(t *testing.T) {
	tok := load(t, qwen)
	ids, err := tok.Encode("Hello there, the same words again and again", EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := tok.NewStream(false)
	defer s.Close()
	all := func() {
		for _, id := range ids {
			if _, err := s.Push(id); err != nil {
				t.Fatal(err)
			}
		}
		s.Reset()
	}
	all()
	if n := testing.AllocsPerRun(20, all); n > 0 {
		t.Errorf("%d known tokens made %.0f allocations, want none", len(ids), n)
	}
}
