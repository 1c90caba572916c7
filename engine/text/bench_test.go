package text

import (
	"os"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	data, err := os.ReadFile(shared(b, qwen))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tok, err := Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		tok.Close()
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := load(b, qwen)
	for _, c := range []struct{ name, text string }{
		{"prompt", strings.Repeat("The quick brown fox jumps over the lazy dog. ", 10)},
		{"64kB", strings.Repeat("The quick brown fox jumps over the lazy dog; naïve façades, 12345 and so on.\n", 840)},
		{"1MBofOne", strings.Repeat("a", 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tok.Encode(c.text, EncodeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPush(b *testing.B) {
	tok := load(b, qwen)
	ids, err := tok.Encode(strings.Repeat("Hello, wörld! 🦙 and so on. ", 20), EncodeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	s := tok.NewStream(false)
	defer s.Close()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.Push(ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkRender(b *testing.B) {
	tmpl := parseTemplate(b, chatML)
	vars := map[string]any{"add_generation_prompt": true, "messages": []map[string]string{
		{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello"},
	}}
	for b.Loop() {
		if _, err := tmpl.Render(vars); err != nil {
			b.Fatal(err)
		}
	}
}
