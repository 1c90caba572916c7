package model

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// Bounds of what a configuration may say. They are far above any real model and keep products of them small enough to
// check before anything is allocated.
const (
	layersMax  = 1024
	headsMax   = 4096
	headDimMax = 8192
	hiddenMax  = 1 << 20
	vocabMax   = 1 << 24
	contextCap = 1 << 30
)

// config is what a config.json or genai_config.json says; 0, -1 or nil is not given.
type config struct {
	file          string
	family        string
	architectures []string
	vocab         int
	layers        int
	heads         int
	kvHeads       int
	headDim       int
	hidden        int
	context       int
	end           []int32
	bos, pad      int32
	tied          bool
	seq2seq       bool
}

// parseConfig reads a config.json as transformers writes it, with the older families' names beside today's.
func parseConfig(o object) (config, error) {
	c := config{file: o.file, bos: -1, pad: -1}
	c.family = o.string("model_type")
	c.architectures = o.strings("architectures")
	c.seq2seq = o.bool("is_encoder_decoder")
	top := o
	if _, nested := o.fields["text_config"]; nested && o.fields["hidden_size"] == nil {
		o = o.object("text_config") // models of several modes keep the language model's part here
	}
	c.vocab = o.int(1, vocabMax, "vocab_size")
	c.layers = o.int(1, layersMax, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
	c.heads = o.int(1, headsMax, "num_attention_heads", "n_head", "num_heads", "n_heads")
	c.kvHeads = o.int(1, headsMax, "num_key_value_heads", "num_kv_heads", "n_head_kv")
	c.headDim = o.int(1, headDimMax, "head_dim")
	c.hidden = o.int(1, hiddenMax, "hidden_size", "n_embd", "d_model")
	c.context = o.int(1, contextCap, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
	o.float(1e-30, 1e30, "rope_theta")
	c.tied = o.bool("tie_word_embeddings") || top.bool("tie_word_embeddings")
	for _, o := range []object{top, o} {
		if ids := o.ids("eos_token_id"); ids != nil {
			c.end = ids
		}
		if ids := o.ids("bos_token_id"); ids != nil {
			c.bos = ids[0]
		}
		if ids := o.ids("pad_token_id"); ids != nil {
			c.pad = ids[0]
		}
	}
	return c, top.err()
}

// refuse names models that are no decoder-only language model.
func (c config) refuse() error {
	kind := ""
	for _, a := range c.architectures {
		for _, part := range []string{"MaskedLM", "Classification", "QuestionAnswering", "Encoder", "Seq2Seq", "Embedding"} {
			if strings.Contains(a, part) {
				kind = a + " is no decoder-only language model"
			}
		}
	}
	if c.seq2seq {
		kind = fmt.Sprintf("%q is an encoder with a decoder", c.family)
	}
	if kind == "" {
		return nil
	}
	return fmt.Errorf("model: read %s: %w: %s", c.file, ErrUnsupported, kind)
}

// genai is what a genai_config.json says.
type genai struct {
	config
	filename string
	parts    []string // graphs, when the model is made of several
	inputs   map[string]string
	outputs  map[string]string
	search   object
}

// parseGenAI reads a genai_config.json. Native libraries that it names (custom_ops_library) are never opened.
func parseGenAI(o object) (genai, error) {
	g := genai{config: config{file: o.file, bos: -1, pad: -1}}
	m := o.object("model")
	d := m.object("decoder")
	g.family = m.string("type")
	g.vocab = m.int(1, vocabMax, "vocab_size")
	g.context = m.int(1, contextCap, "context_length")
	g.end = m.ids("eos_token_id")
	if ids := m.ids("bos_token_id"); ids != nil {
		g.bos = ids[0]
	}
	if ids := m.ids("pad_token_id"); ids != nil {
		g.pad = ids[0]
	}
	g.layers = d.int(1, layersMax, "num_hidden_layers")
	g.heads = d.int(1, headsMax, "num_attention_heads")
	g.kvHeads = d.int(1, headsMax, "num_key_value_heads")
	g.headDim = d.int(1, headDimMax, "head_size")
	g.hidden = d.int(1, hiddenMax, "hidden_size")
	if g.filename = d.string("filename"); g.filename == "" {
		g.filename = "model.onnx"
	}
	g.inputs, g.outputs = d.object("inputs").texts(), d.object("outputs").texts()
	g.search = o.object("search")
	g.parts = d.pipeline()
	for _, part := range []string{"encoder", "vision", "speech", "embedding", "encoder_decoder_init"} {
		if p := m.object(part); p.fields != nil {
			g.parts = append(g.parts, part+" "+p.string("filename"))
		}
	}
	if o.err() == nil && d.fields == nil {
		o.fail("model.decoder", "it is missing")
	}
	return g, o.err()
}

// texts are the members that are texts.
func (o object) texts() map[string]string {
	m := map[string]string{}
	for k, v := range o.fields {
		s, ok := v.(string)
		if !ok {
			o.fail(jsonobject.Shorten(k), "expected a tensor's name, found %s", jsonobject.Describe(v))
			continue
		}
		m[k] = s
	}
	return m
}

// pipeline lists the graphs of a decoder that is cut into several.
func (o object) pipeline() []string {
	v, _ := o.value("pipeline")
	list, _ := v.([]any)
	var files []string
	for _, stage := range list {
		m, ok := stage.(*jsonobject.Object)
		if !ok {
			continue
		}
		for name, part := range m.Values {
			if p, ok := part.(*jsonobject.Object); ok {
				if s, ok := p.Values["filename"].(string); ok {
					name = s
				}
			}
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// parseDefaults reads the sampling parameters of generation_config.json, and for what it does not say of genai_config.json.
func parseDefaults(generation, search object) (Defaults, error) {
	read := func(o object) Defaults {
		d := Defaults{
			DoSample:          o.boolPtr("do_sample"),
			Temperature:       o.float(0, 100, "temperature"),
			TopP:              o.float(0, 1, "top_p"),
			MinP:              o.float(0, 1, "min_p"),
			RepetitionPenalty: o.float(0.01, 100, "repetition_penalty"),
			PresencePenalty:   o.float(-100, 100, "presence_penalty"),
			FrequencyPenalty:  o.float(-100, 100, "frequency_penalty"),
			TopK:              o.intPtr(-1, vocabMax, "top_k"),
			MaxNewTokens:      o.intPtr(1, contextCap, "max_new_tokens"),
			MinNewTokens:      o.intPtr(0, contextCap, "min_new_tokens"),
		}
		return d
	}
	a, b := read(generation), read(search)
	d := Defaults{
		DoSample:          first(a.DoSample, b.DoSample),
		Temperature:       first(a.Temperature, b.Temperature),
		TopP:              first(a.TopP, b.TopP),
		MinP:              first(a.MinP, b.MinP),
		RepetitionPenalty: first(a.RepetitionPenalty, b.RepetitionPenalty),
		PresencePenalty:   first(a.PresencePenalty, b.PresencePenalty),
		FrequencyPenalty:  first(a.FrequencyPenalty, b.FrequencyPenalty),
		TopK:              first(a.TopK, b.TopK),
		MaxNewTokens:      first(a.MaxNewTokens, b.MaxNewTokens),
		MinNewTokens:      first(a.MinNewTokens, b.MinNewTokens),
	}
	if err := generation.err(); err != nil {
		return d, err
	}
	return d, search.err()
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// hubName is owner/name when the folder lies in a snapshot of the Hub's cache, else the folder's own name.
func hubName(dir string) string {
	if dir == "" {
		return "embedded"
	}
	if full, err := filepath.Abs(dir); err == nil { // "." and ".." have a name too
		dir = full
	}
	parts := strings.Split(path.Clean(strings.ReplaceAll(dir, `\`, "/")), "/")
	for _, p := range slices.Backward(parts) {
		if rest, ok := strings.CutPrefix(p, "models--"); ok {
			return strings.Replace(rest, "--", "/", 1)
		}
	}
	return parts[len(parts)-1]
}
