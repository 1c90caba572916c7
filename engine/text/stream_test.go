package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// streamAll pushes ids one by one and checks every piece.
func streamAll(t testing.TB, s *Stream, ids []int32) string {
	t.Helper()
	s.Reset()
	var out strings.Builder
	for _, id := range ids {
		piece, err := s.Push(id)
		if err != nil {
			t.Fatalf("push %d of %v: %v", id, ids, err)
		}
		if !utf8.ValidString(piece) {
			t.Fatalf("push %d of %v gives %q, which is not UTF-8", id, ids, piece)
		}
		out.WriteString(piece)
	}
	last, err := s.Flush()
	if err != nil {
		t.Fatal(err)
	}
	return out.String() + last
}

// full is what daulet/tokenizers decodes, the oracle for texts without NUL.
func full(tok *Tokenizer, ids []int32, keepSpecial bool) string {
	unsigned := make([]uint32, len(ids))
	for i, id := range ids {
		unsigned[i] = uint32(id)
	}
	return tok.tok.Decode(unsigned, !keepSpecial)
}

// T-13: every id alone, and ten thousand pairs.
func TestStreamEveryID(t *testing.T) {
	for _, path := range []string{qwen, qwen3, gpt2, smol} {
		tok := load(t, path)
		s := tok.NewStream(true)
		defer s.Close()
		check := func(ids ...int32) {
			got := streamAll(t, s, ids)
			decoded, err := tok.Decode(ids, DecodeOptions{KeepSpecial: true})
			if err != nil || got != decoded {
				t.Fatalf("%s: %v: the stream gives %q, Decode %q (%v)", path, ids, got, decoded, err)
			}
			if want := full(tok, ids, true); !strings.Contains(got, "\x00") && got != want {
				t.Fatalf("%s: %v: got %q, the tokenizers library gives %q", path, ids, got, want)
			}
		}
		for id := range tok.Size() {
			check(int32(id))
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 10_000 {
			check(random.Int32N(int32(tok.Size())), random.Int32N(int32(tok.Size())))
		}
	}
}

// Half a rune is held back and never shown; at the end it is U+FFFD.
func TestStreamHoldsHalfRunes(t *testing.T) {
	tok := load(t, gpt2)
	text := "é🦙👩‍👩‍👧 \x00 नी"
	ids, err := tok.Encode(text, EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := tok.NewStream(false)
	defer s.Close()
	if got := streamAll(t, s, ids); got != text {
		t.Errorf("got %q, want %q", got, text)
	}
	llama, err := tok.Encode("🦙", EncodeOptions{})
	if err != nil || len(llama) < 2 {
		t.Fatal(llama, err)
	}
	for cut := 1; cut < len(llama); cut++ {
		s.Reset()
		for _, id := range llama[:cut] {
			if piece, err := s.Push(id); piece != "" || err != nil {
				t.Errorf("half a rune gives %q (%v)", piece, err)
			}
		}
		if last, _ := s.Flush(); last != "\ufffd" {
			t.Errorf("the end of %d of %d parts: got %q, want U+FFFD", cut, len(llama), last)
		}
		if again, _ := s.Flush(); again != "" {
			t.Errorf("flushing again gives %q", again)
		}
	}
}

// toy is a small tokenizer.json with 256 byte tokens and a decoder of choice.
func toy(decoder string) string {
	vocab := map[string]int{}
	add := func(tokens ...string) {
		for _, t := range tokens {
			vocab[t] = len(vocab)
		}
	}
	add("<unk>", "<s>", "</s>")
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b))
	}
	add("▁", "▁Hello", "▁world", "Hello", "ing", "##ing", "é", "wor</w>", "ld", "a▁b", ".", "'s", "▁▁", "<0xZZ>", "<0x1>", " ")
	model, err := json.Marshal(map[string]any{
		"type": "BPE", "vocab": vocab, "merges": []string{}, "byte_fallback": true, "unk_token": "<unk>",
	})
	if err != nil {
		panic(err)
	}
	special := func(id int, content string) string {
		return fmt.Sprintf(`{"id":%d,"content":%q,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}`, id, content)
	}
	return fmt.Sprintf(`{"version":"1.0","truncation":null,"padding":null,"added_tokens":[%s,%s],
		"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
		"pre_tokenizer":null,"post_processor":null,"decoder":%s,"model":%s}`,
		special(1, "<s>"), special(2, "</s>"), decoder, model)
}

var decoders = map[string]string{
	"none":      `null`,
	"llama":     `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}`,
	"gemma":     `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]}`,
	"metaspace": `{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}`,
	"never":     `{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true}`,
	"wordpiece": `{"type":"WordPiece","prefix":"##","cleanup":true}`,
	"pieces":    `{"type":"Sequence","decoders":[{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},{"type":"Strip","content":"H","start":1,"stop":0}]}`,
}

// For decoders of every kind: the stream equals Decode, and that what the tokenizers library gives,
// except for bytes that are no UTF-8. There the library makes a U+FFFD of every byte of the run, also
// of the good ones, and could only say so when the run has ended.
func TestStreamDecoders(t *testing.T) {
	for name, decoder := range decoders {
		t.Run(name, func(t *testing.T) {
			tok, err := Parse([]byte(toy(decoder)))
			if err != nil {
				t.Fatal(err)
			}
			defer tok.Close()
			keep := tok.NewStream(true)
			defer keep.Close()
			skip := tok.NewStream(false)
			defer skip.Close()
			rapid.Check(t, func(rt *rapid.T) {
				ids := rapid.SliceOfN(rapid.OneOf(rapid.Int32Range(0, int32(tok.Size())), rapid.Int32Range(3+256, int32(tok.Size())), rapid.Int32Range(3+0xC2, 3+0xF4)), 0, 12).Draw(rt, "ids")
				for _, s := range []*Stream{keep, skip} {
					o := DecodeOptions{KeepSpecial: s == keep}
					got := streamAll(t, s, ids)
					decoded, err := tok.Decode(ids, o)
					if err != nil || got != decoded {
						rt.Fatalf("%v: the stream gives %q, Decode %q (%v)", ids, got, decoded, err)
					}
					want := full(tok, ids, o.KeepSpecial)
					if got != want && !strings.ContainsAny(got+want, "\x00\ufffd") {
						rt.Fatalf("%v: got %q, the tokenizers library gives %q", ids, got, want)
					}
				}
			})
		})
	}
}

func TestStreamSentencePiece(t *testing.T) {
	tok, err := Parse([]byte(toy(decoders["llama"])))
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	s := tok.NewStream(false)
	defer s.Close()
	id := func(token string) int32 {
		id, ok := tok.ID(token)
		if !ok {
			t.Fatalf("no token %q", token)
		}
		return id
	}
	for _, c := range []struct {
		tokens string
		want   []string
	}{
		{"▁Hello ▁world .", []string{"Hello", " world", "."}},
		{"<s> ▁Hello </s> ▁world", []string{"", "Hello", "", " world"}},
		{"▁▁ Hello", []string{" ", "Hello"}},
		{"Hello ▁world", []string{"Hello", " world"}},
		{"<0xF0> <0x9F> <0xA6> <0x99> ing", []string{"", "", "", "🦙", "ing"}},
		{"▁ <0xC3> ing", []string{"", "", "\ufffding"}},
		{"<0x20> ing", []string{"", "ing"}},
	} {
		s.Reset()
		for i, token := range strings.Fields(c.tokens) {
			if got, err := s.Push(id(token)); err != nil || got != c.want[i] {
				t.Errorf("%s: token %d gives %q (%v), want %q", c.tokens, i, got, err, c.want[i])
			}
		}
	}
}

func TestStreamMisuse(t *testing.T) {
	tok, err := Parse([]byte(toy(decoders["llama"])))
	if err != nil {
		t.Fatal(err)
	}
	s := tok.NewStream(false)
	if _, err := s.Push(-1); err == nil {
		t.Error("a negative id: want an error")
	}
	if got, err := s.Push(1 << 30); got != "" || err != nil {
		t.Errorf("an id beyond the vocabulary: got %q (%v), want no text", got, err)
	}
	if tok.Close() != nil || tok.Close() != nil {
		t.Error("closing twice fails")
	}
	hello := int32(3 + 256 + 1)
	if got, err := s.Push(hello); got != "Hello" || err != nil {
		t.Errorf("after the tokenizer was closed: got %q (%v)", got, err)
	}
	s.Close()
	s.Close()
	s.Reset()
	if _, err := s.Push(hello); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := tok.NewStream(true).Push(hello); !errors.Is(err, ErrClosed) {
		t.Errorf("a stream of a closed tokenizer: got %v, want ErrClosed", err)
	}
	if _, err := tok.Encode("x", EncodeOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("encode: got %v, want ErrClosed", err)
	}
	if _, err := tok.Decode(nil, DecodeOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("decode: got %v, want ErrClosed", err)
	}
	if _, ok := tok.Token(0); ok || tok.Special(1) {
		t.Error("a closed tokenizer still knows tokens")
	}
}

func TestPushAllocatesOnlyItsText(t *testing.T) {
	tok := load(t, qwen)
	s := tok.NewStream(false)
	defer s.Close()
	id, _ := tok.ID("hello")
	n := testing.AllocsPerRun(1000, func() {
		if _, err := s.Push(id); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 {
		t.Errorf("%v allocations a token, want at most one, the text", n)
	}
}

// The committed prompts and answers of the real model.
func TestGreedyAnswers(t *testing.T) {
	var golden struct {
		Cases []struct {
			Prompt, Rendered string
			PromptIDs        []int32 `json:"prompt_ids"`
			GreedyIDs        []int32 `json:"greedy_ids"`
			GreedyText       string  `json:"greedy_text"`
		}
	}
	readJSON(t, shared(t, "models/smollm2-135m-instruct/greedy.json"), &golden)
	tok := load(t, smol)
	tmpl := parseTemplate(t, readTemplate(t, shared(t, "models/smollm2-135m-instruct/genai-int4/chat_template.jinja")))
	s := tok.NewStream(false)
	defer s.Close()
	if len(golden.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range golden.Cases {
		ids, p := encodePrompt(t, tok, tmpl, chat(c.Prompt))
		if p.String() != c.Rendered || !slices.Equal(ids, c.PromptIDs) {
			t.Errorf("%q: got %q %v, want %q %v", c.Prompt, p, ids, c.Rendered, c.PromptIDs)
		}
		if got := streamAll(t, s, c.GreedyIDs); got != c.GreedyText {
			t.Errorf("%q: got %q, want %q", c.Prompt, got, c.GreedyText)
		}
	}
}
