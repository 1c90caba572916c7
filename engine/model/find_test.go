package model

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// What exporters really write, in every layout.
func TestFixtures(t *testing.T) {
	tests := []struct {
		dir        string
		layout     Layout
		graph      string
		data       int
		past       int
		shared     bool
		lastOnly   bool
		positions  bool
		kv, logits string
	}{
		{"a-fp32", LayoutA, "onnx/model.onnx", 0, 2, false, false, true, "float32", "float32"},
		{"a-fp16", LayoutA, "onnx/model_fp16.onnx", 0, 2, false, false, true, "float16", "float16"},
		{"a-keep", LayoutA, "onnx/model.onnx", 0, 2, false, false, true, "float32", "float32"},
		{"a-combined", LayoutA, "onnx/model.onnx", 0, 2, false, false, true, "float32", "float32"},
		{"a-nocache", LayoutA, "onnx/model.onnx", 0, 0, false, false, true, "", "float32"},
		{"b-fp32", LayoutB, "model.onnx", 1, 2, true, false, false, "float32", "float32"},
		{"b-int4", LayoutB, "model.onnx", 1, 2, true, true, false, "float32", "float32"},
		{"c-fp32", LayoutC, "model.onnx", 1, 2, false, false, true, "float32", "float32"},
	}
	for _, test := range tests {
		s, err := load(filepath.Join("..", "testdata", test.dir))
		if err != nil {
			t.Errorf("%s: %v", test.dir, err)
			continue
		}
		if s.Layout != test.layout || s.Graph != test.graph || len(s.Data) != test.data || len(s.Past) != test.past ||
			s.Shared != test.shared || s.LastRowOnly != test.lastOnly || (s.Positions != "") != test.positions ||
			s.KVType != test.kv || s.LogitsType != test.logits {
			t.Errorf("%s: got layout %v, graph %s, data %v, %d layers, shared %v, last row only %v, positions %q, %s, %s; want %+v",
				test.dir, s.Layout, s.Graph, s.Data, len(s.Past), s.Shared, s.LastRowOnly, s.Positions, s.KVType, s.LogitsType, test)
		}
		if s.Parameters != 95040 || s.Layers != 2 || s.Heads != 4 || s.Hidden != 64 || s.ContextMax != 512 {
			t.Errorf("%s: %d parameters, %d layers, %d heads, hidden %d, context %d", test.dir, s.Parameters, s.Layers, s.Heads, s.Hidden, s.ContextMax)
		}
		if s.Combined != (test.dir == "a-combined") || (s.NumLogits != "") != (test.dir == "a-keep") || (len(s.Warnings) > 0) != (test.dir == "a-fp16") {
			t.Errorf("%s: combined %v, num logits %q, warnings %q", test.dir, s.Combined, s.NumLogits, s.Warnings)
		}
		if want := []int32{306, 308}; !slices.Equal(s.End, want) {
			t.Errorf("%s: ends %v, want %v", test.dir, s.End, want)
		}
	}
}

// An embedded model is read through its file system alone.
func TestEmbedded(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, text := range with(layoutA(), "onnx/model.onnx", encode(external([2]string{"location", "w.data"})), "onnx/w.data", strings.Repeat("x", 24)) {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	f, err := Find(fsys, "", FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := f.Load(Signature{}); err != nil || s.Layers != 2 || s.Data[0] != "onnx/w.data" || s.Name != "embedded" {
		t.Errorf("got %+v, %v", s, err)
	}
	delete(fsys, "onnx/w.data")
	_, err = Find(fsys, "", FindOptions{})
	oneLine(t, "without its data", err, "onnx/w.data")
}

func TestVariants(t *testing.T) {
	names := func(list ...string) map[string]string {
		files := map[string]string{"config.json": configJSON}
		for _, n := range list {
			files[n] = encode(nil)
			if dir := filepath.Dir(n); strings.HasPrefix(filepath.Base(dir), "genai") || strings.Contains(n, "cpu") || strings.Contains(n, "cuda") {
				files[dir+"/genai_config.json"] = genaiJSON
			}
		}
		return files
	}
	everyA := []string{"onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_q4.onnx", "onnx/model_q4f16.onnx", "onnx/model_int8.onnx",
		"onnx/model_uint8.onnx", "onnx/model_quantized.onnx", "onnx/model_bnb4.onnx"}
	tests := []struct {
		name  string
		files []string
		o     FindOptions
		want  string // graph, or what the error says after "!"
	}{
		{"q4 before all others", everyA, FindOptions{}, "onnx/model_q4.onnx"},
		{"cuda", everyA, FindOptions{Provider: "cuda"}, "onnx/model_q4f16.onnx"},
		{"coreml", everyA, FindOptions{Provider: "coreml"}, "onnx/model_fp16.onnx"},
		{"asked for", everyA, FindOptions{Variant: "int8"}, "onnx/model_int8.onnx"},
		{"asked for float32", everyA, FindOptions{Variant: "fp32"}, "onnx/model.onnx"},
		{"not there", everyA, FindOptions{Variant: "q2"}, `!no variant "q2", there are q4, int8, quantized, uint8 and 4 more`},
		{"int8 before float32", []string{"onnx/model.onnx", "onnx/model_quantized.onnx"}, FindOptions{}, "onnx/model_quantized.onnx"},
		{"float32 before float16", []string{"onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_q4f16.onnx"}, FindOptions{}, "onnx/model.onnx"},
		{"A and B together", append([]string{"cpu_and_mobile/cpu-int4/model.onnx"}, everyA...), FindOptions{}, "cpu_and_mobile/cpu-int4/model.onnx"},
		{"several levels down", []string{"x/cpu_and_mobile/cpu-int4-rtn-block-32/model.onnx", "x/cuda/cuda-int4/model.onnx", "x/cuda/cuda-fp16/model.onnx"},
			FindOptions{}, "x/cpu_and_mobile/cpu-int4-rtn-block-32/model.onnx"},
		{"for cuda", []string{"cpu/cpu-int4/model.onnx", "cuda/cuda-fp16/model.onnx", "cuda/cuda-int4/model.onnx"},
			FindOptions{Provider: "cuda"}, "cuda/cuda-fp16/model.onnx"},
		{"int8 activations", []string{"cpu/cpu-int4-rtn-block-32/model.onnx", "cpu/cpu-int4-rtn-block-32-acc-level-4/model.onnx"},
			FindOptions{}, "cpu/cpu-int4-rtn-block-32-acc-level-4/model.onnx"},
		{"two models", []string{"small-1.5B/cpu-int4/model.onnx", "large-7B/cpu-int4/model.onnx"}, FindOptions{}, "!several models"},
		{"one of two models", []string{"small-1.5B/cpu-int4/model.onnx", "large-7B/cpu-int4/model.onnx"},
			FindOptions{Variant: "7b"}, "large-7B/cpu-int4/model.onnx"},
		{"C", []string{"model.onnx"}, FindOptions{}, "model.onnx"},
		{"C with a name of its own", []string{"my-model.onnx"}, FindOptions{}, "my-model.onnx"},
		{"a merged decoder and its older twins", []string{"onnx/decoder_model_merged.onnx", "onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx"},
			FindOptions{}, "onnx/decoder_model_merged.onnx"},
		{"a decoder pair", []string{"onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx"}, FindOptions{},
			"!several graphs (decoder_model, decoder_with_past_model)"},
		{"encoder and decoder", []string{"onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"}, FindOptions{},
			"!several graphs (decoder_model_merged, encoder_model)"},
		{"vision", []string{"onnx/vision_encoder.onnx", "onnx/embed_tokens.onnx", "onnx/decoder_model_merged_q4.onnx"}, FindOptions{},
			"!several graphs (decoder_model_merged_q4, embed_tokens, vision_encoder)"},
	}
	for _, test := range tests {
		dir := folder(t, names(test.files...))
		f, err := Find(nil, dir, test.o)
		if fault, bad := strings.CutPrefix(test.want, "!"); bad {
			oneLine(t, test.name, err, fault)
			continue
		}
		if err != nil || f.Graph != test.want {
			t.Errorf("%s: got %q, %v; want %q", test.name, f.Graph, err, test.want)
		}
	}
	list, err := Variants(os.DirFS(folder(t, names(everyA...))))
	if want := []string{"q4", "int8", "quantized", "uint8", "bnb4", "fp32", "q4f16", "fp16"}; err != nil || !slices.Equal(list, want) {
		t.Errorf("Variants: got %q, %v; want %q", list, err, want)
	}
}

// A folder without a model says what it has instead.
func TestNoModel(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		kind  error
		words string
	}{
		{"empty", map[string]string{}, ErrNoModel, "the folder is empty"},
		{"for another program", map[string]string{"config.json": configJSON, "model.safetensors": "x"}, ErrNoModel, "model.safetensors: a model for another program"},
		{"no configuration", map[string]string{"onnx/model.onnx": encode(nil)}, ErrNoModel, "no config.json"},
		{"no graph beside genai_config.json", map[string]string{"a/genai_config.json": genaiJSON, "a/other.onnx": "x"}, ErrFile,
			`model.decoder.filename is "model.onnx", and the folder holds no such file (it has other.onnx)`},
		{"graph elsewhere", map[string]string{"genai_config.json": strings.Replace(genaiJSON, `"model.onnx"`, `"../model.onnx"`, 1)}, ErrFile, `"../model.onnx"`},
		{"encoder and decoder by its configuration", with(layoutA(), "config.json", strings.Replace(configJSON, "{", `{"is_encoder_decoder": true, `, 1)),
			ErrUnsupported, "an encoder with a decoder"},
		{"masked language model", with(layoutA(), "config.json", strings.Replace(configJSON, "Qwen2ForCausalLM", "ModernBertForMaskedLM", 1)),
			ErrUnsupported, "ModernBertForMaskedLM"},
		{"classifier", with(layoutA(), "config.json", strings.Replace(configJSON, "Qwen2ForCausalLM", "BertForSequenceClassification", 1)),
			ErrUnsupported, "BertForSequenceClassification"},
		{"speech", map[string]string{"model.onnx": encode(nil), "genai_config.json": strings.Replace(genaiJSON, `"decoder"`, `"speech": {"filename": "s.onnx"}, "decoder"`, 1)},
			ErrUnsupported, "several graphs (speech s.onnx)"},
	}
	for _, test := range tests {
		_, err := load(folder(t, test.files))
		oneLine(t, test.name, err, test.words)
		if !errors.Is(err, test.kind) {
			t.Errorf("%s: %v is no %v", test.name, err, test.kind)
		}
	}
	_, err := load(filepath.Join(t.TempDir(), "nothing"))
	oneLine(t, "no folder", err, "the folder does not exist")
}

// Two real configurations are of models cut into several graphs; the other two of graphs that are not beside them.
func TestRealConfigurations(t *testing.T) {
	dir := shared(t, "data/genai_configs")
	for file, words := range map[string]string{
		"deepseek-r1-distill-qwen-1.5b.json": "several graphs (context_ctx.onnx, embeddings.onnx, iterator_ctx.onnx, lm_head.onnx)",
		"phi-3.5-mini.json":                  "several graphs (context_ctx.onnx, embeddings.onnx",
		"qwen2.5-1.5b-amd.json":              `"fusion.onnx"`,
		"phi-3.5-praxis.json":                `"model.onnx"`,
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		must(t, err)
		_, err = load(folder(t, map[string]string{"genai_config.json": string(b)}))
		oneLine(t, file, err, words)
	}
}

// M-01: what is not a model is said to be what it is, quickly.
func TestDamagedFiles(t *testing.T) {
	html, lfs := "<!DOCTYPE html><html>", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
	whole := encode(nil)
	tests := []struct{ name, file, text, words string }{
		{"empty graph", "onnx/model.onnx", "", "is empty"},
		{"four bytes", "onnx/model.onnx", "\x08\x0a\x12\x40", "cut off"},
		{"four zeros", "onnx/model.onnx", "\x00\x00\x00\x00", "zeros"},
		{"garbage", "onnx/model.onnx", strings.Repeat("garbage ", 1000), "not an ONNX model"},
		{"page", "onnx/model.onnx", html, "HTML page"},
		{"pointer", "onnx/model.onnx", lfs, "Git LFS pointer"},
		{"1 % of a graph", "onnx/model.onnx", whole[:len(whole)/100], "onnx/model.onnx"},
		{"half a graph", "onnx/model.onnx", whole[:len(whole)/2], "cut off"},
		{"99 % of a graph", "onnx/model.onnx", whole[:len(whole)*99/100], "cut off"},
		{"gguf", "onnx/model.onnx", "GGUF\x03\x00\x00\x00\x00", "llama.cpp"},
		{"empty config", "config.json", "", "is empty"},
		{"config page", "config.json", html, "HTML page"},
		{"config pointer", "config.json", lfs, "Git LFS pointer"},
		{"half a config", "config.json", configJSON[:40], "middle of a value"},
		{"a list as config", "config.json", "[1]", "a JSON object was expected"},
		{"two configs", "config.json", configJSON + configJSON, "more text after the object"},
		{"tokenizer pointer", "tokenizer.json", lfs, "Git LFS pointer"},
		{"half a tokenizer", "tokenizer.json", tokenizerJSON[:100], "cut off"},
		{"empty tokenizer", "tokenizer.json", "", "is empty"},
		{"null tokenizer", "tokenizer.json", "null", "a JSON object was expected"},
		{"deep tokenizer", "tokenizer.json", `{"normalizer":` + strings.Repeat("[", 100000), "nested more than 512"},
		{"deep config", "config.json", `{"a":` + strings.Repeat("[", 100000), "nested more than 64"},
	}
	for _, test := range tests {
		start := time.Now()
		_, err := load(folder(t, with(layoutA(), test.file, test.text)))
		oneLine(t, test.name, err, test.words, filepath.FromSlash(test.file))
		if !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v is no ErrFile", test.name, err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: took %v", test.name, d)
		}
	}
}

// external gives the graph one tensor of 24 bytes in another file.
func external(entries ...[2]string) func(*onnxtest.Graph) {
	return func(g *onnxtest.Graph) {
		g.Tensors = append(g.Tensors, onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{2, 3}, External: entries})
	}
}
