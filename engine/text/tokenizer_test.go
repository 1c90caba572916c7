package text

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daulet/tokenizers"
)

// T-08, T-09, T-10: odd texts, each of which encodes and decodes to what is written here.
func TestOddTexts(t *testing.T) {
	for _, path := range []string{qwen, gpt2, smol} {
		tok := load(t, path)
		for _, c := range []struct{ text, want string }{
			{"", ""},
			{"a\x00b\x00", "a\x00b\x00"},
			{"a\xffb\xc3", "a\ufffdb\ufffd"},
			{"\xed\xa0\x80", "\ufffd\ufffd\ufffd"}, // half a surrogate pair in WTF-8
			{"\ufeffx", "\ufeffx"},
			{"\u202eabc", "\u202eabc"},
			{"👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"},
			{"\ufdd0 \ufdef", "\ufdd0 \ufdef"},
			{"\r\n\t \v", "\r\n\t \v"},
		} {
			for _, plain := range []bool{false, true} {
				ids, err := tok.Encode(c.text, EncodeOptions{Plain: plain})
				if err != nil {
					t.Errorf("%s: %q: %v", path, c.text, err)
					continue
				}
				got, err := tok.Decode(ids, DecodeOptions{KeepSpecial: true})
				if err != nil || got != c.want {
					t.Errorf("%s: %q: got %q (%v), want %q", path, c.text, got, err, c.want)
				}
			}
		}
	}
}

// T-10: a megabyte of one character is fast, ten megabytes are refused.
func TestLongTexts(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	tok := load(t, qwen)
	for name, text := range map[string]string{
		"letter":    strings.Repeat("a", 1<<20),
		"space":     strings.Repeat(" ", 1<<20),
		"newline":   strings.Repeat("\n", 1<<20),
		"combining": strings.Repeat("\u0301", 1<<19),
		"llama":     strings.Repeat("🦙", 1<<18),
		"control":   strings.Repeat("<|im_end|>", 1<<17),
	} {
		begin := time.Now()
		ids, err := tok.Encode(text, EncodeOptions{Plain: true})
		took := time.Since(begin)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := tok.Decode(ids, DecodeOptions{}); err != nil || got != text {
			t.Errorf("%s: %d ids decode to %d other bytes (%v)", name, len(ids), len(got), err)
		}
		t.Logf("%s: %v", name, took)
	}
	if _, err := tok.Encode(strings.Repeat("a", BytesMax+1), EncodeOptions{}); err == nil {
		t.Error("more than BytesMax: want an error")
	}
}

// T-10: a text that has more ids than were asked for is refused, whether or not it had to be encoded, and no other is.
func TestTooManyIDs(t *testing.T) {
	for _, path := range []string{qwen, smol} {
		tok := load(t, path)
		for name, piece := range map[string]string{
			"words": "the house on the hill ", "space": " ", "combining": "e\u0301", "control": "<|im_end|>",
		} {
			text := strings.Repeat(piece, 270_000/len(piece))
			whole, err := tok.Encode(text, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, most := range []int{100, len(whole) - 1, len(whole)} {
				ids, err := tok.Encode(text, EncodeOptions{Most: most})
				var long *LongError
				switch {
				case most == len(whole):
					if err != nil || !slices.Equal(ids, whole) {
						t.Errorf("%s: %s: got %d ids (%v), want %d", path, name, len(ids), err, len(whole))
					}
				case !errors.As(err, &long) || long.Least <= most || long.Least > len(whole):
					t.Errorf("%s: %s: got %v of %d ids, want an error with a number above %d", path, name, err, len(whole), most)
				case name == "words" && most == 100 && long.Least < 1000:
					t.Errorf("%s: at least %d ids: the text was encoded, though its characters are too many", path, long.Least)
				}
			}
		}
		short := strings.Repeat("a ", 1000)
		if ids, err := tok.Encode(short, EncodeOptions{Most: 1}); err != nil || len(ids) < 1000 {
			t.Errorf("%s: a short text: got %d ids (%v), want all", path, len(ids), err)
		}
	}
}

func TestTokens(t *testing.T) {
	tok := load(t, qwen)
	if got := tok.Size(); got != 151665 {
		t.Errorf("size: got %d, want 151665", got)
	}
	for _, c := range []struct {
		id      int32
		token   string
		special bool
	}{
		{0, "!", false}, {151643, "<|endoftext|>", true}, {151645, "<|im_end|>", true}, {151657, "<tool_call>", false},
	} {
		token, ok := tok.Token(c.id)
		id, found := tok.ID(c.token)
		if !ok || !found || token != c.token || id != c.id || tok.Special(c.id) != c.special {
			t.Errorf("%d: got %q %t and %d %t, special %t; want %+v", c.id, token, ok, id, found, tok.Special(c.id), c)
		}
	}
	for _, id := range []int32{-1, 151665, 1 << 30} {
		if token, ok := tok.Token(id); ok || tok.Special(id) {
			t.Errorf("%d is %q, want none", id, token)
		}
	}
	for _, token := range []string{"", "no such token", "a\x00", "\xff"} {
		if id, ok := tok.ID(token); ok {
			t.Errorf("%q is %d, want none", token, id)
		}
	}
	if _, err := tok.Decode([]int32{1, -1}, DecodeOptions{}); err == nil {
		t.Error("T-12: a negative id: want an error")
	}
	if got, err := tok.Decode([]int32{0, 151936, 0}, DecodeOptions{}); err != nil || got != "!!" {
		t.Errorf("an id without a token: got %q (%v), want none of its text", got, err)
	}
}

// The daulet package works on our library as on its own.
func TestDauletPackage(t *testing.T) {
	tok := load(t, qwen)
	for _, c := range gold(t, "qwen2") {
		want := make([]uint32, len(c.ids))
		for i, id := range c.ids {
			want[i] = uint32(id)
		}
		e := tok.tok.EncodeWithOptions(c.text, false, tokenizers.WithReturnAllAttributes())
		if !slices.Equal(e.IDs, want) || len(e.Tokens) != len(want) || len(e.Offsets) != len(want) {
			t.Errorf("%q: got %v, want %v, with as many tokens and offsets", c.text, e.IDs, want)
		}
		if got := tok.tok.Decode(want, true); len(want) > 0 && got != c.text {
			t.Errorf("%v: got %q, want %q", want, got, c.text)
		}
	}
	if got := tok.tok.VocabSize(); got != 151665 {
		t.Errorf("vocabulary: got %d, want 151665", got)
	}
	for _, err := range []error{
		second(tokenizers.FromFile("/no/such/file")),
		second(tokenizers.FromTiktoken("a", "b", "c")),
		second(tokenizers.FromBytesWithTruncation([]byte(toy("null")), 8, 7)),
	} {
		if err == nil {
			t.Error("want an error")
		}
	}
	short, err := tokenizers.FromBytesWithTruncation([]byte(toy("null")), 2, tokenizers.TruncationDirectionRight)
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if ids, _ := short.Encode("Hello world", false); len(ids) != 2 {
		t.Errorf("truncation to 2: got %v", ids)
	}
}

func second[T any](_ T, err error) error { return err }

// A tokenizer is used by many at once, and closed under them.
func TestConcurrentUse(t *testing.T) {
	tok, err := Parse([]byte(toy(decoders["llama"])))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := parseTemplate(t, chatML)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			s := tok.NewStream(i%2 == 0)
			defer s.Close()
			for range 50 {
				ids, err := tok.Encode("Hello world", EncodeOptions{})
				if err != nil {
					return // closed
				}
				for _, id := range ids {
					if _, err := s.Push(id); err != nil {
						return
					}
				}
				if _, err := tmpl.RenderPrompt(tok, chat("<s>")); err != nil {
					return
				}
			}
		})
	}
	if err := tok.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
}
