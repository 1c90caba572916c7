package text

import (
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzStream pushes any ids through streams of every kind of decoder: each piece is UTF-8, and all of
// them together are what Decode gives.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x03\x04\xc5\x9f\xa9\x9c"), true)
	f.Add([]byte{1, 2, 3, 0xff, 0xfe}, false)
	var toks []*Tokenizer
	for _, decoder := range decoders {
		tok, err := Parse([]byte(toy(decoder)))
		if err != nil {
			f.Fatal(err)
		}
		toks = append(toks, tok)
	}
	tok, err := Parse([]byte(byteLevel()))
	if err != nil {
		f.Fatal(err)
	}
	toks = append(toks, tok)
	f.Fuzz(func(t *testing.T, data []byte, keep bool) {
		ids := make([]int32, 0, len(data))
		for i, b := range data {
			ids = append(ids, int32(b)+int32(i%3)*20)
		}
		for _, tok := range toks {
			s := tok.NewStream(keep)
			got := streamAll(t, s, ids)
			s.Close()
			want, err := tok.Decode(ids, DecodeOptions{KeepSpecial: keep})
			if err != nil || got != want {
				t.Fatalf("%v: the stream gives %q, Decode %q (%v)", ids, got, want, err)
			}
		}
	})
}

// byteLevel is a tokenizer of the kind of GPT-2: a token for each byte, and some of halves of runes.
func byteLevel() string {
	var vocab strings.Builder
	n := 0
	for r := rune(0x21); r < 0x144; r++ {
		if r > 0x7e && r < 0xa1 || r == 0xad {
			continue
		}
		quoted := string(r)
		if r == '"' || r == '\\' {
			quoted = `\` + quoted
		}
		if n > 0 {
			vocab.WriteByte(',')
		}
		vocab.WriteString(`"` + quoted + `":`)
		vocab.WriteString(strconv.Itoa(n))
		n++
	}
	vocab.WriteString(`,"ðŁ":` + strconv.Itoa(n) + `,"¦Ļ":` + strconv.Itoa(n+1) + `,"aÃ":` + strconv.Itoa(n+2) + `,"漢":` + strconv.Itoa(n+3))
	return tokenizerJSON(map[string]string{
		"model":         `{"type":"BPE","vocab":{` + vocab.String() + `},"merges":[]}`,
		"decoder":       `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true}`,
		"pre_tokenizer": `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true}`,
	})
}

// FuzzTemplate renders any template: it ends in time, with UTF-8 or an error of one line.
func FuzzTemplate(f *testing.F) {
	for _, src := range []string{
		chatML, "{% generation %}{{ x }}{% endgeneration %}", "{% raw %}{% generation %}", "{{ messages | tojson(indent=2) }}",
		"{% for m in messages %}{{ loop.index }}{{ m.content[::-1] }}{% endfor %}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1) }}",
		"{% set ns = namespace(a=[]) %}{% for i in range(9) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
		"{{ messages[0].content.split('<')[1:] | join(',') }}{{ '%s' | format(1) }}",
	} {
		f.Add(src, "hello <|im_end|>")
	}
	f.Fuzz(func(t *testing.T, src, content string) {
		begin := cpuTime()
		tmpl, err := ParseTemplate(src)
		var out string
		if err == nil {
			out, err = tmpl.Render(chat(content, content))
			tmpl.Close()
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("the error is not one line: %q", err)
		}
		if !utf8.ValidString(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		if took := cpuTime() - begin; took > 10*time.Second {
			t.Fatalf("it took %v", took)
		}
	})
}

// FuzzTokenizer loads any bytes as a tokenizer.json and uses what loads.
func FuzzTokenizer(f *testing.F) {
	f.Add([]byte(toy(decoders["llama"])))
	f.Add([]byte(byteLevel()))
	for _, c := range hostile {
		if len(c.json) < 10_000 {
			f.Add([]byte(c.json))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Parse(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("the error is not one line: %q", err)
			}
			return
		}
		defer tok.Close()
		ids, err := tok.Encode("Hello ▁ wörld 🦙", EncodeOptions{AddSpecial: true})
		if err != nil {
			return
		}
		if text, err := tok.Decode(ids, DecodeOptions{KeepSpecial: true}); err == nil && !utf8.ValidString(text) {
			t.Fatalf("%q is not UTF-8", text)
		}
	})
}
