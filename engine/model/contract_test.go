package model

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// input returns the graph's input or output of that name.
func tensor(g *onnxtest.Graph, name string) *onnxtest.Value {
	for _, list := range [][]onnxtest.Value{g.Inputs, g.Outputs} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	panic("BUG: no tensor " + name)
}

func drop(list []onnxtest.Value, name string) []onnxtest.Value {
	var out []onnxtest.Value
	for _, v := range list {
		if v.Name != name {
			out = append(out, v)
		}
	}
	return out
}

// M-07, M-11: each way in which graph and files disagree is found, with what was expected and what was found.
func TestContract(t *testing.T) {
	type graph = onnxtest.Graph
	config := func(old, new string) []string {
		return []string{"config.json", strings.Replace(configJSON, old, new, 1)}
	}
	tests := []struct {
		name   string
		change func(g *graph)
		files  []string
		kind   error
		words  []string
	}{
		{"no ids", func(g *graph) { g.Inputs = drop(g.Inputs, "input_ids") }, nil, ErrContract, []string{"expected input_ids", "found attention_mask"}},
		{"no logits", func(g *graph) { g.Outputs = drop(g.Outputs, "logits") }, nil, ErrContract, []string{"expected logits", "found present.0.key"}},
		{"a past input is missing", func(g *graph) { g.Inputs = drop(g.Inputs, "past_key_values.1.value") }, nil, ErrContract, []string{"layer 1", `value ""`}},
		{"a layer is missing", func(g *graph) {
			g.Inputs = drop(drop(g.Inputs, "past_key_values.0.value"), "past_key_values.0.key")
		}, nil, ErrContract, []string{"layers 0 to 0", "layer 1"}},
		{"presents are missing", func(g *graph) {
			g.Outputs = drop(drop(g.Outputs, "present.1.value"), "present.1.key")
		}, nil, ErrContract, []string{"as many present outputs as past inputs, 2", "found 1"}},
		{"ids of 32 bits", func(g *graph) { tensor(g, "input_ids").Type = onnx.Int32 }, nil, ErrContract, []string{"input_ids", "expected int64, found int32"}},
		{"a mask of floats", func(g *graph) { tensor(g, "attention_mask").Type = onnx.Float32 }, nil, ErrContract, []string{"attention_mask", "found float32"}},
		{"ids of fixed length", func(g *graph) { tensor(g, "input_ids").Dims = []any{"b", 16} }, nil, ErrContract, []string{"a length that may change", "[-1 16]"}},
		{"positions of three axes", func(g *graph) { tensor(g, "position_ids").Dims = []any{3, "b", "n"} }, nil, ErrContract, []string{"position_ids", "2 dimensions", "[3 -1 -1]"}},
		{"an unknown input", func(g *graph) {
			g.Inputs = append(g.Inputs, onnxtest.Value{Name: "token_type_ids", Type: onnx.Int64, Dims: []any{"b", "n"}})
		}, nil, ErrContract, []string{"token_type_ids", "meaning is not known"}},
		{"logits of two dimensions", func(g *graph) { tensor(g, "logits").Dims = []any{"b", 300} }, nil, ErrContract, []string{"3 dimensions", "[-1 300]"}},
		{"logits of integers", func(g *graph) { tensor(g, "logits").Type = onnx.Int8 }, nil, ErrContract, []string{"float32 or float16", "int8"}},
		{"cache of doubles", func(g *graph) { tensor(g, "present.0.key").Type = onnx.Float64 }, nil, ErrContract, []string{"present.0.key", "float64"}},
		{"cache of two types", func(g *graph) { tensor(g, "present.0.key").Type = onnx.Float16 }, nil, ErrContract, []string{"present.0.key", "expected float32", "float16"}},
		{"cache of three dimensions", func(g *graph) { tensor(g, "past_key_values.0.key").Dims = []any{"b", "n", 8} }, nil, ErrContract, []string{"4 dimensions"}},
		{"cache of fixed length", func(g *graph) { tensor(g, "past_key_values.0.key").Dims = []any{"b", 2, 128, 8} }, nil, ErrContract, []string{"a length that may change"}},
		{"layers of two sizes", func(g *graph) { tensor(g, "past_key_values.1.key").Dims[3] = 16 }, nil, ErrContract, []string{"past_key_values.1.key", "head_dim of 8", "found 16"}},
		{"layers of two head counts", func(g *graph) { tensor(g, "present.1.value").Dims[1] = 4 }, nil, ErrContract, []string{"kv_heads of 2", "found 4"}},
		{"vocabulary", nil, config(`"vocab_size": 300`, `"vocab_size": 301`), ErrContract, []string{"vocab", "expected 300", "onnx/model.onnx", "found 301"}},
		{"layers", nil, config(`"num_hidden_layers": 2`, `"num_hidden_layers": 3`), ErrContract, []string{"layers", "expected 2", "found 3"}},
		{"kv heads", nil, config(`"num_key_value_heads": 2`, `"num_key_value_heads": 4`), ErrContract, []string{"kv_heads", "expected 2", "found 4"}},
		{"head_dim", nil, config(`"hidden_size": 32`, `"hidden_size": 32, "head_dim": 16`), ErrContract, []string{"head_dim", "expected 8", "found 16"}},
		{"end of text beyond the vocabulary", nil, config(`"eos_token_id": 5`, `"eos_token_id": [5, 300]`), ErrContract, []string{"eos_token_id", "300"}},
		{"M-09 tokenizer beyond the vocabulary", nil, []string{"tokenizer.json", strings.Replace(tokenizerJSON, `"b": 1`, `"b": 300`, 1)},
			ErrContract, []string{"tokenizer.json", "less than the graph's vocabulary of 300", "found 300"}},
		{"M-09 an added token far beyond", nil, []string{"tokenizer.json", strings.Replace(tokenizerJSON, `"id": 7`, `"id": 4294967295`, 1)},
			ErrContract, []string{"found 4294967295"}},
		{"M-06 operators of a library", func(g *graph) { g.Nodes = []onnxtest.Node{{Op: "Magic", Domain: "evil.example"}} }, nil, ErrUnsupported, []string{"Magic", "evil.example", "never loaded"}},
		{"hybrid", func(g *graph) {
			g.Inputs = append(g.Inputs, onnxtest.Value{Name: "past_conv.0", Type: onnx.Float32, Dims: []any{"b", 3, 4}})
		}, nil, ErrUnsupported, []string{"hybrid", "past_conv.0"}},
		{"recurrent", func(g *graph) {
			g.Inputs = append(g.Inputs, onnxtest.Value{Name: "past_recurrent.0", Type: onnx.Float32, Dims: []any{"b", 3, 4}})
		}, nil, ErrUnsupported, []string{"hybrid"}},
		{"embeddings as input", func(g *graph) {
			g.Inputs = append(drop(g.Inputs, "input_ids"), onnxtest.Value{Name: "inputs_embeds", Type: onnx.Float32, Dims: []any{"b", "n", 32}})
		}, nil, ErrUnsupported, []string{"several", "inputs_embeds"}},
		{"encoder", func(g *graph) { tensor(g, "logits").Name = "last_hidden_state" }, nil, ErrUnsupported, []string{"encoder"}},
	}
	for _, test := range tests {
		_, err := load(folder(t, with(layoutA(), append([]string{"onnx/model.onnx", encode(test.change)}, test.files...)...)))
		oneLine(t, test.name, err, test.words...)
		if !errors.Is(err, test.kind) {
			t.Errorf("%s: %v is no %v", test.name, err, test.kind)
		}
	}
}

// What a graph leaves open is taken from the files, and names from the tables of genai_config.json.
func TestOpenShapes(t *testing.T) {
	open := func(g *onnxtest.Graph) {
		for _, list := range [][]onnxtest.Value{g.Inputs[3:], g.Outputs[1:]} {
			for i := range list {
				list[i].Dims = []any{"b", "heads", "n", "dim"}
			}
		}
		tensor(g, "logits").Dims = []any{"b", "n", "vocab"}
	}
	renamed := func(g *onnxtest.Graph) {
		for i := range g.Inputs {
			g.Inputs[i].Name = strings.NewReplacer("input_ids", "tokens!", "past_key_values.", "old-", ".", "/").Replace(g.Inputs[i].Name)
		}
	}
	tests := []struct {
		name  string
		files map[string]string
		want  Spec
	}{
		{"all from config.json, head_dim from hidden and heads", with(layoutA(), "onnx/model.onnx", encode(open)),
			Spec{Vocab: 300, Layers: 2, KVHeads: 2, HeadDim: 8, Heads: 4, Hidden: 32, ContextMax: 128}},
		{"head_dim of its own", with(layoutA(), "onnx/model.onnx", encode(open), "config.json", strings.Replace(configJSON, "{", `{"head_dim": 256, `, 1)),
			Spec{Vocab: 300, Layers: 2, KVHeads: 2, HeadDim: 256, Heads: 4, Hidden: 32, ContextMax: 128}},
		{"older names", with(layoutA(), "onnx/model.onnx", encode(open), "config.json",
			`{"model_type": "gpt2", "vocab_size": 300, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64}`),
			Spec{Vocab: 300, Layers: 2, KVHeads: 4, HeadDim: 8, Heads: 4, Hidden: 32, ContextMax: 64}},
		{"a part of a model of several modes", with(layoutA(), "config.json",
			`{"model_type": "gemma3", "text_config": {"vocab_size": 300, "num_hidden_layers": 2, "hidden_size": 32, "max_position_embeddings": 99}}`),
			Spec{Vocab: 300, Layers: 2, KVHeads: 2, HeadDim: 8, Hidden: 32, ContextMax: 99}},
		{"names of the tables", map[string]string{"model.onnx": encode(renamed), "genai_config.json": strings.NewReplacer(
			`"input_ids": "input_ids"`, `"input_ids": "tokens!"`, "past_key_values.%d.", "old-%d/").Replace(genaiJSON)},
			Spec{Vocab: 300, Layers: 2, KVHeads: 2, HeadDim: 8, Heads: 4, Hidden: 32, ContextMax: 128}},
		{"extra outputs and no mask", with(layoutA(), "onnx/model.onnx", encode(func(g *onnxtest.Graph) {
			g.Inputs = drop(g.Inputs, "attention_mask")
			g.Outputs = append(g.Outputs, onnxtest.Value{Name: "hidden_states", Type: onnx.Float32})
		})), Spec{Vocab: 300, Layers: 2, KVHeads: 2, HeadDim: 8, Heads: 4, Hidden: 32, ContextMax: 128}},
	}
	for _, test := range tests {
		s, err := load(folder(t, test.files))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got := Spec{Vocab: s.Vocab, Layers: s.Layers, KVHeads: s.KVHeads, HeadDim: s.HeadDim, Heads: s.Heads, Hidden: s.Hidden, ContextMax: s.ContextMax}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

// The session's own signature is checked like the file's.
func TestSignature(t *testing.T) {
	dir := folder(t, layoutA())
	f, err := Find(os.DirFS(dir), dir, FindOptions{})
	must(t, err)
	sig := signature(f.graph.Graph)
	if _, err := f.Load(sig); err != nil {
		t.Error(err)
	}
	sig.Inputs[0].Type = "int32"
	_, err = f.Load(sig)
	oneLine(t, "changed", err, "expected int64, found int32")
}

// M-10: config.json is read strictly.
func TestConfig(t *testing.T) {
	set := func(key, value string) string {
		return strings.Replace(configJSON, "{", fmt.Sprintf("{%q: %s, ", key, value), 1)
	}
	replace := func(old, new string) string { return strings.Replace(configJSON, old, new, 1) }
	layers := `"num_hidden_layers": 2`
	tests := []struct{ name, file, text, words string }{
		{"duplicate key", "config.json", set("vocab_size", "300"), `"vocab_size" stands twice`},
		{"duplicate key deep down", "config.json", set("x", `{"a": [{"b": 1, "b": 2}]}`), `"b" stands twice`},
		{"other letter case", "config.json", replace(layers, `"NUM_HIDDEN_LAYERS": 2`), `"num_hidden_layers" was expected`},
		{"layers -1", "config.json", replace(layers, `"num_hidden_layers": -1`), "from 1 to 1024, found -1"},
		{"layers 0", "config.json", replace(layers, `"num_hidden_layers": 0`), "from 1 to 1024, found 0"},
		{"layers 2^63", "config.json", replace(layers, `"num_hidden_layers": 9223372036854775808`), "from 1 to 1024"},
		{"layers 1e9", "config.json", replace(layers, `"num_hidden_layers": 1e9`), "from 1 to 1024, found 1e9"},
		{"layers as text", "config.json", replace(layers, `"num_hidden_layers": "2"`), `found "2"`},
		{"layers as list", "config.json", replace(layers, `"num_hidden_layers": [2]`), "found a list of 1"},
		{"layers as fraction", "config.json", replace(layers, `"num_hidden_layers": 2.5`), "found 2.5"},
		{"head_dim 0", "config.json", set("head_dim", "0"), "head_dim: expected an integer from 1 to 8192, found 0"},
		{"rope_theta 0", "config.json", replace("1000000.0", "0"), "rope_theta"},
		{"rope_theta -1", "config.json", replace("1000000.0", "-1"), "rope_theta"},
		{"rope_theta NaN", "config.json", replace("1000000.0", "NaN"), "invalid character 'N'"},
		{"no end", "config.json", replace(`"eos_token_id": 5`, `"eos_token_id": []`), "the list is empty"},
		{"end as text", "config.json", replace(`"eos_token_id": 5`, `"eos_token_id": "5"`), "expected a token id"},
		{"huge end", "config.json", replace(`"eos_token_id": 5`, `"eos_token_id": 4294967296`), "expected a token id"},
		{"no end in generation", "generation_config.json", `{"eos_token_id": []}`, "the list is empty"},
		{"temperature below 0", "generation_config.json", `{"temperature": -1}`, "temperature: expected a number from 0 to 100, found -1"},
		{"top_p 2", "generation_config.json", `{"top_p": 2}`, "top_p"},
		{"top_k as text", "generation_config.json", `{"top_k": "many"}`, `found "many"`},
		{"do_sample as number", "generation_config.json", `{"do_sample": 1}`, "expected true or false"},
		{"template as number", "tokenizer_config.json", `{"chat_template": 1}`, "expected a text, found 1"},
		{"architectures as text", "config.json", replace(`["Qwen2ForCausalLM"]`, `"Qwen2"`), "expected a list of texts"},
	}
	for _, test := range tests {
		_, err := load(folder(t, with(layoutA(), test.file, test.text)))
		oneLine(t, test.name, err, test.file, test.words)
		if !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v is no ErrFile", test.name, err)
		}
	}
	s, err := load(folder(t, with(layoutA(), "config.json", set("base_model", `"self"`)+"\n")))
	if err != nil || s.Family != "qwen2" {
		t.Errorf("a key that nobody reads: %+v, %v", s, err)
	}
}

func TestKVBytes(t *testing.T) {
	s := Spec{Layers: 1024, KVHeads: 4096, HeadDim: 8192, KVType: "float32", Past: make([]KVNames, 1)}
	if n, err := s.KVBytes(1 << 30); err == nil {
		t.Errorf("a cache of %d bytes: no error", n)
	}
	s = Spec{Layers: 28, KVHeads: 2, HeadDim: 128, KVType: "float16", Past: make([]KVNames, 28), Vocab: 151936, LogitsType: "float32"}
	const want = 2 * 28 * 2 * 128 * 4096 * 2
	if n, err := s.KVBytes(4096); err != nil || n != want {
		t.Errorf("got %d bytes, %v; want %d", n, err, want)
	}
	two, err := s.MemoryEstimate(Use{Context: 4096})
	s.Shared = true
	one, err2 := s.MemoryEstimate(Use{Context: 4096})
	if err != nil || err2 != nil || one.KV != want || two.KV != 2*want || one.Total() <= one.KV {
		t.Errorf("one buffer: %+v, %v; two sets: %+v, %v", one, err2, two, err)
	}
}

// A batch has caches of its own beside the one sequence, and reads its prompts in chunks as that does.
func TestMemoryOfABatch(t *testing.T) {
	s := Spec{Layers: 2, KVHeads: 2, HeadDim: 64, Hidden: 512, KVType: "float32", Past: make([]KVNames, 2), Vocab: 1000, LogitsType: "float32"}
	const token = 2 * 2 * 2 * 64 * 4
	for _, shared := range []bool{true, false} {
		s.Shared = shared
		alone, err := s.MemoryEstimate(Use{Context: 4096, Tokens: 300, Prompt: 200})
		batch, err2 := s.MemoryEstimate(Use{Context: 4096, Tokens: 1, Prompt: 200, Rows: 4, RowTokens: 300})
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		want := int64(token * (1 + 4*300))
		if !shared { // two sets, and a row for the prompts
			want = 2 * token * (1 + 5*300)
		}
		if batch.KV != want || batch.Scratch != alone.Scratch || batch.Logits != alone.Logits+4*2*1000*4 {
			t.Errorf("shared %v: %+v, want %d bytes of caches, and for a chunk as much as %+v", shared, batch, want, alone)
		}
		most, err := s.MemoryEstimate(Use{Context: 4096, Tokens: 1, Rows: 4, RowTokens: 1 << 40})
		if whole, err2 := s.MemoryEstimate(Use{Context: 4096, Tokens: 1, Rows: 4, RowTokens: 4096}); err != nil || err2 != nil || most != whole {
			t.Errorf("shared %v: a row longer than the context: %+v, %v; want %+v, %v", shared, most, err, whole, err2)
		}
	}
}

// Of a table in a mapped file those pages are resident that somebody asked for: the more, the more of them were there already.
func TestMemoryOfAMappedTable(t *testing.T) {
	s := Spec{Layers: 2, KVHeads: 2, HeadDim: 64, KVType: "float32", Past: make([]KVNames, 2), Vocab: 1000, LogitsType: "float32", LastRowOnly: true}
	table := func(u Use) int64 {
		s.SetWeights(Weights{})
		without, err := s.MemoryEstimate(u)
		s.SetWeights(Weights{Table: 512 << 20})
		with, err2 := s.MemoryEstimate(u)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return (with.Scratch - without.Scratch) >> 20
	}
	for _, c := range []struct {
		use  Use
		want int64 // MiB
	}{
		{Use{Context: 4096}, 31}, // a chunk
		{Use{Context: 4096, Tokens: 16}, 0},
		{Use{Context: 4096, Tokens: 2048}, 113},
		{Use{Context: 4096, Tokens: 1, Rows: 8, RowTokens: 1024}, 323},
		{Use{Context: 1 << 20, Tokens: 1 << 20}, 512},
	} {
		if got := table(c.use); got != c.want {
			t.Errorf("%+v: %d MiB of the table, want %d", c.use, got, c.want)
		}
	}
}

// What a device holds is no memory of this machine, but for what passes through.
func TestMemoryOfADevice(t *testing.T) {
	s := Spec{Layers: 28, KVHeads: 2, HeadDim: 128, KVType: "float16", Past: make([]KVNames, 28), Vocab: 151936, LogitsType: "float32", Shared: true, LastRowOnly: true}
	const weights, kv = 900 << 20, 2 * 28 * 2 * 128 * 4096 * 2
	s.SetWeights(Weights{Kept: 100 << 20, Packed: 1600 << 20, Files: weights, Inline: 10 << 20, Largest: 200 << 20})
	here, err := s.MemoryEstimate(Use{Context: 4096, Tokens: 100})
	there, err2 := s.MemoryEstimate(Use{Context: 4096, Tokens: 100, Device: true})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	const tensor = kv / 56 // passes through when the cache is cleared, saved and restored
	if want := weights + kv + tensor + here.Logits + here.Scratch; here.Device != 0 || there.Device != want {
		t.Errorf("got %d bytes of the device, want %d; and %d without one, want 0", there.Device, want, here.Device)
	}
	if there.Weights != 0 || there.Prepack != 0 || there.KV != tensor || there.Total() > 600<<20 || there.Loading < 220<<20 {
		t.Errorf("of this machine: %+v", there)
	}
	batch, err := s.MemoryEstimate(Use{Context: 4096, Tokens: 100, Device: true, Rows: 3, RowTokens: 50})
	if want := there.Device + 3*kv + 2*kv - tensor + 6*4*151936; err != nil || batch.Device != want || batch.KV != 3*kv {
		t.Errorf("a batch of 3: %d bytes of the device, want %d; %d of caches here, want %d, %v", batch.Device, want, batch.KV, 3*kv, err)
	}
	s.Shared = false
	if there, err = s.MemoryEstimate(Use{Context: 4096, Device: true}); err != nil || there.KV != 2*kv {
		t.Errorf("a cache that goes back and forth: %+v, %v", there, err)
	}
	s.SetWeights(Weights{Files: math.MaxInt64 / 4})
	if _, err := s.MemoryEstimate(Use{Context: 4096, Device: true}); err == nil {
		t.Error("a device of any size was taken for granted")
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(configJSON, `{"eos_token_id": [1, 2], "temperature": 0.7}`, genaiJSON, `{"chat_template": "{{ x }}", "eos_token": {"content": "</s>"}}`)
	for _, name := range []string{"config.json", "generation_config.json"} {
		path := filepath.Join("..", "..", "..", "shared", "data", "tokenizers", "qwen2.5-0.5b-instruct", name)
		if b, err := os.ReadFile(path); err == nil {
			f.Add(string(b), string(b), string(b), string(b))
		}
	}
	m, err := onnx.Read(strings.NewReader(encode(nil)), int64(len(encode(nil))))
	must(f, err)
	f.Fuzz(func(t *testing.T, config, generation, genai, tokenizer string) {
		files := mapFS{"config.json": config, "generation_config.json": generation, "genai_config.json": genai,
			"tokenizer_config.json": tokenizer, "tokenizer.json": tokenizerJSON}
		for _, withGenAI := range []string{"", "genai_config.json"} {
			s, err := Files{FS: files.fs(), Graph: "model.onnx", Config: "config.json", GenerationConfig: "generation_config.json",
				GenAIConfig: withGenAI, Tokenizer: "tokenizer.json", TokenizerConfig: "tokenizer_config.json", graph: m}.Load(Signature{})
			if err != nil {
				if strings.ContainsAny(err.Error(), "\n\x00") {
					t.Errorf("%q is not one line", err)
				}
				continue
			}
			if s.Vocab != 300 || s.Layers != 2 || s.KVHeads != 2 || s.HeadDim != 8 || s.ContextMax < 1 || s.ContextMax > contextCap {
				t.Errorf("sizes that the graph does not have: %+v", s)
			}
			for _, id := range append([]int32{max(s.BOS, 0), max(s.Pad, 0)}, s.End...) {
				if id < 0 || int(id) >= s.Vocab {
					t.Errorf("token id %d is beyond the vocabulary of %d", id, s.Vocab)
				}
			}
			if _, err := s.MemoryEstimate(Use{Context: s.ContextMax, Text: true}); err != nil {
				t.Error(err)
			}
		}
	})
}

// More layers than there may be are refused before they are compared with each other.
func TestTooManyLayers(t *testing.T) {
	g := decoder()
	for layer := 2; layer < 40_000; layer++ {
		for _, half := range []string{"key", "value"} {
			kv := onnxtest.Value{Name: fmt.Sprintf("past_key_values.%d.%s", layer, half), Type: onnx.Float32}
			g.Inputs = append(g.Inputs, kv)
			kv.Name = fmt.Sprintf("present.%d.%s", layer, half)
			g.Outputs = append(g.Outputs, kv)
		}
	}
	_, err := load(folder(t, map[string]string{"genai_config.json": genaiJSON, "tokenizer.json": tokenizerJSON, "model.onnx": string(onnxtest.Encode(g))}))
	oneLine(t, "40,000 layers", err, "past tensors", "at most 1024 layers", "found 40000")
	if !errors.Is(err, ErrContract) {
		t.Errorf("got %v, want %v", err, ErrContract)
	}
}
