package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// config is what PEFT's adapter_config.json says about the matrices: how they are scaled, and nothing that would need more than them.
type config struct {
	base        string
	rank        int
	alpha       float64
	root        bool // rslora: alpha over the root of the rank
	rankPattern []pattern
	alphas      []pattern
}

// pattern is a value for the modules whose name, or the end of it behind a dot, matches.
type pattern struct {
	source     string
	expression *regexp.Regexp
	name       string // in place of an expression, with dots for any one letter: what PEFT writes itself, one for each module
	value      float64
}

func (p pattern) matches(module string) bool {
	if p.expression != nil {
		return p.expression.MatchString(module)
	}
	at := len(module) - len(p.name)
	if at < 0 || at > 0 && module[at-1] != '.' {
		return false
	}
	for i := range len(p.name) {
		if c := p.name[i]; c != '.' && c != module[at+i] {
			return false
		}
	}
	return true
}

// parseConfig reads the file. Python's NaN and Infinity are no JSON, so no number is one of these.
func parseConfig(data []byte) (c config, err error) {
	o, err := jsonobject.Parse(data, nestingMax)
	if err != nil {
		return c, fmt.Errorf("its JSON is wrong: %w", err)
	}
	if err := refuse(o); err != nil {
		return c, err
	}
	if base, ok := o.Values["base_model_name_or_path"].(string); ok {
		c.base = jsonobject.Shorten(base)
	}
	if c.root, err = flag(o, "use_rslora"); err != nil {
		return c, err
	}
	if _, err := flag(o, "fan_in_fan_out"); err != nil { // how the base keeps its own weights; A and B lie the same either way
		return c, err
	}
	rank, there := o.Values["r"]
	n, ok := jsonobject.Integer(rank, 1, rankMax)
	switch {
	case !there || rank == nil:
		return c, errors.New(`"r" is missing, the rank of the matrices`)
	case !ok:
		return c, fmt.Errorf(`"r" is %s, expected a whole number from 1 to %d`, jsonobject.Describe(rank), rankMax)
	}
	c.rank = int(n)
	alpha, there := o.Values["lora_alpha"]
	switch {
	case !there || alpha == nil:
		return c, errors.New(`"lora_alpha" is missing, without which the scale is not known; PEFT would take 8: if that is what it was trained with, write it into the file`)
	}
	if c.alpha, err = positive("lora_alpha", alpha); err != nil {
		return c, err
	}
	if c.rankPattern, err = patterns(o, "rank_pattern"); err != nil {
		return c, err
	}
	for _, p := range c.rankPattern {
		if p.value != math.Trunc(p.value) || p.value > rankMax {
			return c, fmt.Errorf(`"rank_pattern" gives %q the rank %v, expected a whole number from 1 to %d`, p.source, p.value, rankMax)
		}
	}
	c.alphas, err = patterns(o, "alpha_pattern")
	return c, err
}

// refuse names what an adapter has that two matrix products do not compute.
func refuse(o *jsonobject.Object) error {
	for _, key := range o.Keys {
		for _, known := range []string{"r", "lora_alpha", "peft_type", "use_rslora", "use_dora", "bias", "rank_pattern", "alpha_pattern", "modules_to_save"} {
			if key != known && strings.EqualFold(key, known) {
				return fmt.Errorf("the key %q is in other letter case, expected %q", jsonobject.Shorten(key), known)
			}
		}
	}
	switch t := o.Values["peft_type"]; t {
	case "LORA":
	case nil:
		return errors.New(`"peft_type" is missing, expected "LORA"`)
	default:
		return fmt.Errorf(`"peft_type" is %s, expected "LORA"`, jsonobject.Describe(t))
	}
	if t := o.Values["task_type"]; t != nil && t != "CAUSAL_LM" {
		return fmt.Errorf(`"task_type" is %s, expected "CAUSAL_LM": another task has layers of its own`, jsonobject.Describe(t))
	}
	if b := o.Values["bias"]; b != nil && b != "none" {
		return fmt.Errorf(`"bias" is %s, expected "none": changed biases are not supported`, jsonobject.Describe(b))
	}
	if init, ok := o.Values["init_lora_weights"].(string); ok && !slices.Contains([]string{"gaussian", "eva", "orthogonal", "mica"}, init) {
		return fmt.Errorf(`"init_lora_weights" is %s, which changes the base model's own weights; save the adapter with PEFT's path_initial_model_for_weight_conversion`, jsonobject.Describe(init))
	}
	why := map[string]string{"use_dora": "DoRA is not supported", "modules_to_save": "whole modules beside the matrices are not supported",
		"trainable_token_indices": "changed embeddings are not supported", "layer_replication": "repeated layers are not supported"}
	for _, key := range o.Keys {
		special := slices.Contains([]string{"modules_to_save", "lora_bias", "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
			"arrow_config", "velora_config", "monteclora_config", "kasa_config"}, key)
		if (special || strings.HasPrefix(key, "use_") && key != "use_rslora") && !empty(o.Values[key]) {
			reason := why[key]
			if reason == "" {
				reason = "adapters of this kind are not supported"
			}
			return fmt.Errorf("%q is %s: %s", jsonobject.Shorten(key), jsonobject.Describe(o.Values[key]), reason)
		}
	}
	return nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case *jsonobject.Object:
		return len(v.Keys) == 0
	}
	return false
}

func flag(o *jsonobject.Object, key string) (bool, error) {
	v := o.Values[key]
	b, ok := v.(bool)
	if v != nil && !ok {
		return false, fmt.Errorf("%q is %s, expected true or false", key, jsonobject.Describe(v))
	}
	return b, nil
}

func positive(what string, v any) (float64, error) {
	number, ok := v.(json.Number)
	x, err := number.Float64()
	if !ok || err != nil || !(x > 0) || x > math.MaxFloat32 {
		return 0, fmt.Errorf("%q is %s, expected a number above 0", what, jsonobject.Describe(v))
	}
	return x, nil
}

const (
	nestingMax         = 16 // of configurations and headers
	patternsMax        = 1000
	expressionBytesMax = 1 << 10 // of all in a list, which are matched with thousands of names: bounds seconds
)

// patterns reads an object of regular expressions, each for a module's name or the end of it behind a dot.
func patterns(o *jsonobject.Object, key string) (list []pattern, err error) {
	v := o.Values[key]
	if empty(v) {
		return nil, nil
	}
	inner, ok := v.(*jsonobject.Object)
	if !ok {
		return nil, fmt.Errorf("%q is %s, expected an object", key, jsonobject.Describe(v))
	}
	if len(inner.Keys) > patternsMax {
		return nil, fmt.Errorf("%q has %d patterns, expected at most %d", key, len(inner.Keys), patternsMax)
	}
	expressions := 0
	for _, source := range inner.Keys {
		p := pattern{source: jsonobject.Shorten(source)}
		switch {
		case len(source) <= moduleBytesMax && moduleName.MatchString(source):
			p.name = source
		case len(source) <= moduleBytesMax && !strings.Contains(source, "{"): // repetitions could be long to match
			expressions += len(source)
			p.expression, err = regexp.Compile(`^(?:.*\.)?(?:` + source + `)$`)
		}
		if p.name == "" && p.expression == nil {
			return nil, fmt.Errorf("%q has the pattern %q, which is no regular expression that is understood here", key, p.source)
		}
		if expressions > expressionBytesMax {
			return nil, fmt.Errorf("%q has more than %d bytes of regular expressions; name modules in their place", key, expressionBytesMax)
		}
		if p.value, err = positive(key+"."+p.source, inner.Values[source]); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// of is the value of the first pattern that matches, or the one for all.
func of(list []pattern, module string, value float64) float64 {
	for _, p := range list {
		if p.matches(module) {
			return p.value
		}
	}
	return value
}

// scale is what a module of that rank is multiplied by.
func (c config) scale(module string, rank int) (float32, error) {
	if want := int(of(c.rankPattern, module, float64(c.rank))); want != rank {
		return 0, fmt.Errorf("the matrices of %s have the rank %d, but %s says %d", module, rank, ConfigFile, want)
	}
	by := float64(rank)
	if c.root {
		by = math.Sqrt(by)
	}
	scale := float32(of(c.alphas, module, c.alpha) / by)
	if scale == 0 {
		return 0, fmt.Errorf("the scale of %s is too small for a float32", module)
	}
	return scale, nil
}
