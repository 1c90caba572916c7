// Package tiny holds the language model that is compiled into the program.
//
// It makes the program useful with nothing downloaded: the demonstration, the self-test of every provider and the
// fixture of the test suite. It answers simple questions of fact, tells short stories and recalls what was said earlier
// in a conversation; it knows nothing else, and says so.
//
// Qwen2 architecture, 4,692,224 parameters: 6 layers of 256 (feed-forward 704), 4 query heads of 64 over 2 key-value
// heads, tied embeddings, at most 2,048 positions (trained on up to 512). Byte-level BPE of 1,024 tokens, ChatML.
// scripts/tiny composes the text and trains it on a processor with fixed seeds: 1,000 steps of 4,096 tokens and 800 more
// at half the rate, the last 1,150 of them with weights rounded as the export rounds them. onnxruntime-genai's builder
// exports it as int4 in blocks of 32, weights inside model.onnx, logits of the last row only.
//
// Under greedy decoding the export answers 1,328 of the 1,333 pairs of fact and wording that training never saw, and
// recalls what it was told in 196 of 200 dialogues. testdata/heldout.jsonl holds a selection of both, each question with
// the one right answer.
package tiny

import (
	"embed"
	"io/fs"
)

//go:embed model
var files embed.FS

// FS returns the model's folder: model.onnx, genai_config.json, config.json, generation_config.json, tokenizer.json,
// tokenizer_config.json and chat_template.jinja in its root. The contents are read-only and never change.
func FS() fs.FS {
	model, err := fs.Sub(files, "model")
	if err != nil {
		panic("BUG: tiny: open the embedded folder: " + err.Error())
	}
	return model
}
