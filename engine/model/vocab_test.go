package model

import (
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkVocabulary(b *testing.B) {
	dir := shared(b, "data/tokenizers/qwen2.5-0.5b-instruct")
	f := Files{FS: os.DirFS(dir), Dir: dir, Tokenizer: "tokenizer.json"}
	info, err := os.Stat(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.readVocabulary("<|im_end|>"); err != nil {
			b.Fatal(err)
		}
	}
}
