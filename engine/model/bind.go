package model

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/jsonobject"
)

var (
	// Names of cache tensors as exporters write them: past_key_values.0.key, past_key_0, past_0; present likewise.
	cacheName = regexp.MustCompile(`^(past|present)(?:_key_values)?[._](\d{1,4})(?:\.decoder)?(?:[._](key|value))?$`)
	cacheTail = regexp.MustCompile(`^(past|present)_(key|value)s?[._](\d{1,4})$`)

	hybrid = regexp.MustCompile(`past_conv|past_ssm|past_recurrent|conv_state|ssm_state|recurrent_state`)
	parts  = regexp.MustCompile(`^(encoder_|decoder_input|pixel_|image_|audio_|inputs_embeds|input_features|input_values|vision)|\.encoder\.`)
)

// bind finds the tensors of the signature by the names of genai_config.json, and else by the names that exporters use.
func (l *loader) bind() error {
	s := l.spec
	if err := l.refuseKinds(); err != nil {
		return err
	}
	in, out := byName(l.sig.Inputs), byName(l.sig.Outputs)
	pick := func(table map[string]string, have map[string]TensorInfo, role string, names ...string) string {
		for _, n := range append([]string{table[role], role}, names...) {
			if _, ok := have[n]; ok && n != "" {
				return n
			}
		}
		return ""
	}
	s.InputIDs = pick(l.genai.inputs, in, "input_ids", "input", "x", "input1", "tokens")
	s.Mask = pick(l.genai.inputs, in, "attention_mask", "mask")
	s.Positions = pick(l.genai.inputs, in, "position_ids", "positions")
	s.NumLogits = pick(nil, in, "num_logits_to_keep", "logits_to_keep")
	s.UseCacheBranch = pick(nil, in, "use_cache_branch")
	s.Logits = pick(l.genai.outputs, out, "logits", "output", "output1")
	var err error
	if s.Past, err = l.layers(l.sig.Inputs, "past", l.genai.inputs); err != nil {
		return err
	}
	if s.Present, err = l.layers(l.sig.Outputs, "present", l.genai.outputs); err != nil {
		return err
	}
	if s.InputIDs == "" {
		return l.broken("inputs", "input_ids", names(l.sig.Inputs))
	}
	if s.Logits == "" {
		return l.broken("outputs", "logits", names(l.sig.Outputs))
	}
	if len(s.Past) == 0 {
		s.Present = nil // a graph that gives keys and values but takes none is run without a cache
	}
	if len(s.Past) != len(s.Present) {
		return l.broken("cache", fmt.Sprintf("as many present outputs as past inputs, %d", len(s.Past)), strconv.Itoa(len(s.Present)))
	}
	known := []string{s.InputIDs, s.Mask, s.Positions, s.NumLogits, s.UseCacheBranch}
	for _, kv := range s.Past {
		known = append(known, kv.Key, kv.Value)
		s.Combined = s.Combined || kv.Key == kv.Value
	}
	for i := range s.Past {
		if (s.Past[i].Key == s.Past[i].Value) != s.Combined || (s.Present[i].Key == s.Present[i].Value) != s.Combined {
			return l.broken(fmt.Sprintf("cache of layer %d", i), "one way of holding keys and values in all layers", "two ways")
		}
	}
	for _, t := range l.sig.Inputs {
		if _, _, ok := lora.Input(t.Name); ok && isFloat(t.Type) && len(t.Shape) == 2 {
			s.LoRA = append(s.LoRA, t.Name)
		} else if !slices.Contains(known, t.Name) {
			return l.broken("input "+jsonobject.Shorten(t.Name), "ids, mask, positions and cache only", "an input whose meaning is not known")
		}
	}
	return nil
}

// refuseKinds names models that are recognised by their tensors but cannot be run.
func (l *loader) refuseKinds() error {
	refuse := func(why, name string) error {
		return fmt.Errorf("model: check %s: %w: %s (tensor %s)", l.label(l.Graph), ErrUnsupported, why, jsonobject.Shorten(name))
	}
	for _, t := range slices.Concat(l.sig.Inputs, l.sig.Outputs) {
		switch {
		case hybrid.MatchString(t.Name):
			return refuse("a hybrid model with convolution or recurrent state", t.Name)
		case parts.MatchString(t.Name):
			return refuse("one graph of a model that is made of several", t.Name)
		}
	}
	for _, t := range l.sig.Outputs {
		switch t.Name {
		case "last_hidden_state", "pooler_output", "sentence_embedding", "token_embeddings":
			return refuse("an encoder or a model without a language head", t.Name)
		}
	}
	return nil
}

func byName(list []TensorInfo) map[string]TensorInfo {
	m := make(map[string]TensorInfo, len(list))
	for _, t := range list {
		m[t.Name] = t
	}
	return m
}

func names(list []TensorInfo) string {
	var n []string
	for _, t := range list {
		n = append(n, jsonobject.Shorten(t.Name))
	}
	if n == nil {
		return "none"
	}
	return listing(n)
}

func (l *loader) broken(item, want, found string) error {
	return &contractError{l.label(l.Graph), item, want, found}
}

// layers lists the cache tensors of all layers, in order. kind is "past" or "present".
func (l *loader) layers(have []TensorInfo, kind string, table map[string]string) ([]KVNames, error) {
	found := map[int]KVNames{}
	for _, t := range have {
		layer, half, ok := cacheTensor(t.Name, kind, table)
		if !ok {
			continue
		}
		kv := found[layer]
		if (half != "value" && kv.Key != "") || (half != "key" && kv.Value != "") {
			return nil, l.broken("cache tensor "+t.Name, fmt.Sprintf("one tensor for this part of layer %d", layer), "two")
		}
		if half != "value" {
			kv.Key = t.Name
		}
		if half != "key" {
			kv.Value = t.Name
		}
		found[layer] = kv
	}
	if len(found) > layersMax {
		return nil, l.broken(kind+" tensors", fmt.Sprintf("at most %d layers", layersMax), strconv.Itoa(len(found)))
	}
	list := make([]KVNames, len(found))
	for layer, kv := range found {
		if layer >= len(list) || kv.Key == "" || kv.Value == "" {
			return nil, l.broken(kind+" tensors", fmt.Sprintf("key and value of layers 0 to %d", len(list)-1),
				fmt.Sprintf("layer %d with key %q and value %q", layer, kv.Key, kv.Value))
		}
		list[layer] = kv
	}
	return list, nil
}

// cacheTensor reads a cache tensor's layer and half ("" for both) from its name.
func cacheTensor(name, kind string, table map[string]string) (layer int, half string, ok bool) {
	for key, h := range map[string]string{kind + "_key_names": "key", kind + "_value_names": "value", kind + "_names": ""} {
		before, after, found := strings.Cut(table[key], "%d")
		if !found || len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
			continue
		}
		if n, err := strconv.ParseUint(name[len(before):len(name)-len(after)], 10, 16); err == nil {
			return int(n), h, true
		}
	}
	if m := cacheName.FindStringSubmatch(name); m != nil && m[1] == kind {
		layer, _ = strconv.Atoi(m[2])
		return layer, m[3], true
	}
	if m := cacheTail.FindStringSubmatch(name); m != nil && m[1] == kind {
		layer, _ = strconv.Atoi(m[3])
		return layer, m[2], true
	}
	return 0, "", false
}
