package model

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// mapFS are files in memory.
type mapFS map[string]string

func (m mapFS) fs() fs.FS {
	out := fstest.MapFS{}
	for name, text := range m {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// The ends of a text are the union of all that the files name, and of the template's end of turn.
func TestEnds(t *testing.T) {
	template := "{{ messages[0]['content'] }}<|im_end|></s><|eot_id|>"
	tests := []struct {
		name  string
		files []string
		want  []int32
	}{
		{"config.json alone", nil, []int32{5}},
		{"generation_config.json wins over config.json", []string{"generation_config.json", `{"eos_token_id": [8, 9]}`}, []int32{8, 9}},
		{"one id", []string{"generation_config.json", `{"eos_token_id": 8}`}, []int32{8}},
		{"null", []string{"generation_config.json", `{"eos_token_id": null}`}, []int32{5}},
		{"the tokenizer's end", []string{"tokenizer_config.json", `{"eos_token": "<end>"}`}, []int32{5, 7}},
		{"the tokenizer's end as object, of the model's own vocabulary", []string{"tokenizer_config.json", `{"eos_token": {"content": "</s>"}}`}, []int32{2, 5}},
		{"a token with a quote", []string{"tokenizer_config.json", `{"eos_token": "\""}`}, []int32{3, 5}},
		{"an end that the tokenizer does not have", []string{"tokenizer_config.json", `{"eos_token": "<nowhere>"}`}, []int32{5}},
		{"the template's end of turn", []string{"generation_config.json", `{"eos_token_id": 8}`, "chat_template.jinja", template}, []int32{5, 8}},
		{"an end of turn that the template does not use", []string{"generation_config.json", `{"eos_token_id": 8}`, "chat_template.jinja", "x"}, []int32{8}},
		{"all", []string{"generation_config.json", `{"eos_token_id": 8}`, "chat_template.jinja", template,
			"tokenizer_config.json", `{"eos_token": "<end>"}`}, []int32{5, 7, 8}},
	}
	plain := strings.Replace(tokenizerJSON, "<|im_start|>", "<other>", 1) // no built-in template fits
	for _, test := range tests {
		s, err := load(folder(t, with(with(layoutA(), "tokenizer.json", plain), test.files...)))
		if err != nil || !slices.Equal(s.End, test.want) {
			t.Errorf("%s: got %+v, %v; want ends %v", test.name, s, err, test.want)
		}
	}
	s, err := load(folder(t, map[string]string{"model.onnx": encode(nil), "tokenizer.json": plain,
		"genai_config.json":      strings.Replace(genaiJSON, "[5]", "[9, 10]", 1),
		"generation_config.json": `{"eos_token_id": 8}`}))
	if want := []int32{8, 9, 10}; err != nil || !slices.Equal(s.End, want) {
		t.Errorf("layout B: got %v, %v; want %v", s, err, want)
	}
}

func TestMarks(t *testing.T) {
	s, err := load(folder(t, with(layoutA(),
		"config.json", strings.Replace(configJSON, "{", `{"bos_token_id": 9, "pad_token_id": -1, `, 1),
		"tokenizer_config.json", `{"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}`)))
	if err != nil || s.BOS != 6 || s.Pad != -1 || s.BOSText != "<|im_start|>" || s.EOSText != "<|im_end|>" {
		t.Errorf("the tokenizer's begin: got %+v, %v", s, err)
	}
	s, err = load(folder(t, with(layoutA(), "config.json", strings.Replace(configJSON, "{", `{"bos_token_id": 6, `, 1))))
	if err != nil || s.BOS != 6 || s.BOSText != "<|im_start|>" || s.EOSText != "<|im_end|>" {
		t.Errorf("texts from ids: got %+v, %v", s, err)
	}
}

// Where the template comes from.
func TestTemplate(t *testing.T) {
	plain := strings.Replace(tokenizerJSON, "<|im_start|>", "<other>", 1) // no built-in template fits
	config := `{"chat_template": "of the configuration"}`
	list := `{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "the default"}]}`
	tests := []struct {
		name         string
		files        []string
		want, source string
	}{
		{"none", []string{"tokenizer.json", plain}, "", ""},
		{"its own file", []string{"chat_template.jinja", "of the file", "tokenizer_config.json", config}, "of the file", "chat_template.jinja"},
		{"configuration", []string{"tokenizer_config.json", config}, "of the configuration", "tokenizer_config.json"},
		{"configuration before chat_template.json", []string{"tokenizer_config.json", config, "chat_template.json", `{"chat_template": "x"}`},
			"of the configuration", "tokenizer_config.json"},
		{"list of named ones", []string{"tokenizer_config.json", list}, "the default", "tokenizer_config.json"},
		{"chat_template.json", []string{"chat_template.json", `{"chat_template": "of JSON"}`}, "of JSON", "chat_template.json"},
	}
	for _, test := range tests {
		s, err := load(folder(t, with(layoutA(), test.files...)))
		if err != nil || s.Template != test.want || s.TemplateSource != test.source {
			t.Errorf("%s: got %+v, %v; want %q from %q", test.name, s, err, test.want, test.source)
		}
	}
	// C-01
	s, err := load(folder(t, layoutA()))
	if err != nil || s.TemplateSource != "built-in chatml" || !strings.Contains(s.Template, "<|im_start|>assistant") {
		t.Errorf("tokens of a known family and no template: got %+v, %v", s, err)
	}
	_, err = load(folder(t, with(layoutA(), "chat_template.jinja", strings.Repeat("x", templateMax+1))))
	oneLine(t, "a huge template", err, "chat_template.jinja")
}

func TestDefaults(t *testing.T) {
	s, err := load(folder(t, map[string]string{"model.onnx": encode(nil), "genai_config.json": genaiJSON,
		"generation_config.json": `{"temperature": 0.25, "repetition_penalty": 1.1, "min_p": 0.05}`}))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Sampling
	if *d.Temperature != 0.25 || *d.RepetitionPenalty != 1.1 || *d.MinP != 0.05 {
		t.Errorf("generation_config.json: got %v %v %v", *d.Temperature, *d.RepetitionPenalty, *d.MinP)
	}
	if !*d.DoSample || *d.TopK != 20 || *d.TopP != 0.8 {
		t.Errorf("what only genai_config.json says: got %v %v %v", *d.DoSample, *d.TopK, *d.TopP)
	}
	if d.PresencePenalty != nil || d.MaxNewTokens != nil {
		t.Errorf("what nobody says: got %v %v", d.PresencePenalty, d.MaxNewTokens)
	}
}

// T-03, T-04, T-07 as far as the file itself goes.
func TestVocabulary(t *testing.T) {
	tests := []struct {
		name, text string
		base, max  int64 // highest ids
		fault      string
	}{
		{"objects", tokenizerJSON, 3, 7, ""},
		{"model before added tokens", `{"model": {"vocab": {"a": 12}}, "added_tokens": [{"content": "x", "id": 9}]}`, 12, 9, ""},
		{"list of pieces", `{"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", [1, {"c": "]"}]], ["c", 0]]}}`, 2, -1, ""},
		{"no vocabulary", `{"model": {"type": "Unknown"}}`, -1, -1, ""},
		{"negative id", `{"model": {"vocab": {"a": -1}}}`, 0, 0, `token id "-1"`},
		{"huge id", `{"model": {"vocab": {"a": 4294967296}}}`, 0, 0, `token id "4294967296"`},
		{"id as text", `{"added_tokens": [{"id": "1", "content": "a"}]}`, 0, 0, "token id"},
		{"no id", `{"added_tokens": [{"content": "a"}]}`, 0, 0, `"a" has no id`},
		{"null vocabulary", `{"model": {"vocab": null}}`, 0, 0, "'n' where '{' was expected"},
		{"null model", `{"model": null}`, 0, 0, "was expected"},
		{"a missing comma", `{"model": {"vocab": {"a": 1 "b": 2}}}`, 0, 0, "',' was expected"},
		{"cut off in a text", `{"model": {"vocab": {"a\"`, 0, 0, "cut off"},
		{"cut off after an escape", `{"model": {"vocab": {"a\`, 0, 0, "cut off"},
	}
	for _, test := range tests {
		f := Files{FS: mapFS{"tokenizer.json": test.text}.fs(), Tokenizer: "tokenizer.json"}
		v, err := f.readVocabulary()
		if test.fault != "" {
			oneLine(t, test.name, err, "tokenizer.json", test.fault)
			continue
		}
		if err != nil || v.baseMax != test.base || v.addedMax != test.max {
			t.Errorf("%s: got %+v, %v; want highest ids %d and %d", test.name, v, err, test.base, test.max)
		}
	}
}

// Texts that reach over the window's end, at every place in it.
func TestVocabularyWindow(t *testing.T) {
	for pad := 65520; pad < 65560; pad++ {
		text := `{"x": "` + strings.Repeat("y", pad) + `", "model": {"vocab": {"a\"\\": 17, "\u003c/s>": 2}}}`
		f := Files{FS: mapFS{"tokenizer.json": text}.fs(), Tokenizer: "tokenizer.json"}
		v, err := f.readVocabulary(`a"\`, "</s>")
		if err != nil || v.id(`a"\`) != 17 || v.id("</s>") != 2 || v.id("z") != -1 {
			t.Fatalf("after %d bytes: %+v, %v", pad, v, err)
		}
	}
}

// The real tokenizers' ids, found without a tokenizer.
func TestRealVocabularies(t *testing.T) {
	tests := []struct {
		dir      string
		base     int64
		token    string
		id       int64
		addedMax int64
	}{
		{"qwen2.5-0.5b-instruct", 151642, "<|im_end|>", 151645, 151664},
		{"qwen3", 151642, "<|im_end|>", 151645, 151668},
		{"gpt2", 50256, "!", 0, 50256},
	}
	for _, test := range tests {
		dir := shared(t, "data/tokenizers/"+test.dir)
		v, err := Files{FS: os.DirFS(dir), Dir: dir, Tokenizer: "tokenizer.json"}.readVocabulary(test.token)
		if err != nil || v.baseMax != test.base || v.id(test.token) != test.id || v.addedMax != test.addedMax {
			t.Errorf("%s: highest ids %d and %d, %s is %d, %v; want %+v", test.dir, v.baseMax, v.addedMax, test.token, v.id(test.token), err, test)
		}
	}
}
