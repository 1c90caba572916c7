// Package hub knows which models there are by name, and where they lie in the local cache of the Hugging Face Hub.
package hub

import (
	"slices"
	"strings"
)

// Entry is one model of the catalogue.
type Entry struct {
	Alias  string
	Family string
	Repo   string // owner/name; "" for the embedded model
	Folder string // what the name of the folder holds in a repository of several models, in lower case
	Size   string // within the family: small, medium or large
	// Bytes is what is downloaded for the CPU: as it was seen on the hub, or else about, from the number of parameters: 0.6 bytes for
	// each in a matrix, 4 for each in the table of the vocabulary.
	Bytes int64
	Seen  bool
	table int64 // bytes of Bytes that only rows are read of: the embedding
	token int64 // bytes of keys and values of one token, in float32
}

// contextUsual is the context that a model is opened with.
const contextUsual = 4096

// Memory is about what the model takes on the CPU when a context of 4,096 tokens is full: packed, its matrices take nine tenths of their bytes
// in the file; of the embedding rows are looked up; the rest is keys and values, a prompt's values, the tokenizer and the program.
func (e Entry) Memory() int64 {
	const program, rows, tokenizer, values = 70 << 20, 32 << 20, 70 << 20, 40 << 20
	return (e.Bytes-e.table)*9/10 + min(e.table, rows) + e.token*contextUsual + program + tokenizer + values
}

// Tiny is the alias of the model that is embedded in the program.
const Tiny = "tiny"

// Catalogue lists the models that have a short name, by family and then by size.
func Catalogue() []Entry {
	const million, float = 1e6, 4
	return []Entry{
		{Alias: Tiny, Family: "embedded"},
		{"qwen-0.5b", "Qwen2.5", "onnx-community/Qwen2.5-0.5B-Instruct", "", "small", 786 * million, true, 151936 * 896 * float, 2 * 24 * 2 * 64 * float},
		{"qwen-1.5b", "Qwen2.5", "onnx-community/Qwen2.5-1.5B-Instruct", "", "medium", 1_790 * million, true, 151936 * 1536 * float, 2 * 28 * 2 * 128 * float},
		{"qwen-coder-3b", "Qwen2.5", "onnx-community/Qwen2.5-Coder-3B-Instruct", "", "large", 2_900 * million, false, 151936 * 2048 * float, 2 * 36 * 2 * 128 * float},
		{"qwen3-0.6b", "Qwen3", "onnx-community/Qwen3-0.6B-ONNX", "", "small", 900 * million, false, 151936 * 1024 * float, 2 * 28 * 8 * 128 * float},
		{"qwen3-1.7b", "Qwen3", "onnx-community/Qwen3-1.7B-ONNX", "", "medium", 2_100 * million, false, 151936 * 2048 * float, 2 * 28 * 8 * 128 * float},
		{"qwen3-4b", "Qwen3", "onnx-community/Qwen3-4B-ONNX", "", "large", 3_700 * million, false, 151936 * 2560 * float, 2 * 36 * 8 * 128 * float},
		{"llama-1b", "Llama 3.2", "onnx-community/Llama-3.2-1B-Instruct", "", "small", 1_660 * million, true, 128256 * 2048 * float, 2 * 16 * 8 * 64 * float},
		{"llama-3b", "Llama 3.2", "onnx-community/Llama-3.2-3B-Instruct", "", "medium", 3_300 * million, false, 128256 * 3072 * float, 2 * 28 * 8 * 128 * float},
		{"gemma-270m", "Gemma 3", "onnx-community/gemma-3-270m-it-ONNX", "", "small", 730 * million, false, 262144 * 640 * float, 2 * 18 * 1 * 256 * float},
		{"gemma-1b", "Gemma 3", "onnx-community/gemma-3-1b-it-ONNX", "", "medium", 1_600 * million, false, 262144 * 1152 * float, 2 * 26 * 1 * 256 * float},
		{"phi-3.5", "Phi", "microsoft/Phi-3.5-mini-instruct-onnx", "", "small", 2_600 * million, false, 32064 * 3072 * float, 2 * 32 * 32 * 96 * float},
		{"phi-4-mini", "Phi", "microsoft/Phi-4-mini-instruct-onnx", "", "medium", 4_860 * million, true, 200064 * 3072 * float, 2 * 32 * 8 * 128 * float},
		{"phi-4", "Phi", "microsoft/phi-4-onnx", "", "large", 10_200 * million, false, 100352 * 5120 * float, 2 * 40 * 10 * 128 * float},
		{"mistral-7b", "Mistral", "microsoft/mistral-7b-instruct-v0.2-ONNX", "", "large", 4_800 * million, false, 32000 * 4096 * float, 2 * 32 * 8 * 128 * float},
		{"smollm2-135m", "SmolLM2", "HuggingFaceTB/SmolLM2-135M-Instruct", "", "small", 200 * million, true, 49152 * 576 * float, 2 * 30 * 3 * 64 * float},
		{"smollm2-360m", "SmolLM2", "HuggingFaceTB/SmolLM2-360M-Instruct", "", "medium", 380 * million, false, 49152 * 960 * float, 2 * 32 * 5 * 64 * float},
		{"smollm2-1.7b", "SmolLM2", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "", "large", 1_400 * million, false, 49152 * 2048 * float, 2 * 24 * 32 * 64 * float},
		{"deepseek-1.5b", "DeepSeek distill", "onnx-community/DeepSeek-R1-Distill-Qwen-1.5B-ONNX", "", "small", 1_900 * million, false, 151936 * 1536 * float, 2 * 28 * 2 * 128 * float},
		{"deepseek-7b", "DeepSeek distill", "onnxruntime/DeepSeek-R1-Distill-ONNX", "7b", "medium", 6_400 * million, false, 152064 * 3584 * float, 2 * 28 * 4 * 128 * float},
		{"deepseek-14b", "DeepSeek distill", "onnxruntime/DeepSeek-R1-Distill-ONNX", "14b", "large", 11_500 * million, false, 152064 * 5120 * float, 2 * 48 * 8 * 128 * float},
	}
}

// Lookup finds an alias, in any letter case.
func Lookup(alias string) (Entry, bool) {
	all := Catalogue()
	i := slices.IndexFunc(all, func(e Entry) bool { return strings.EqualFold(e.Alias, alias) })
	if i < 0 {
		return Entry{}, false
	}
	return all[i], true
}

// Nearest is the alias that a mistyped one most likely means, "" when none is near.
func Nearest(alias string) string {
	alias = strings.ToLower(alias)
	best, least := "", len(alias)/3+1 // more changes than that are another word
	for _, e := range Catalogue() {
		if d := distance(alias, e.Alias); d <= least && (best == "" || d < least) {
			best, least = e.Alias, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
