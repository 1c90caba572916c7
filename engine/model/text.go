package model

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/internal/jsonobject"
)

// ends of turn that chat templates write. One that a template uses and the tokenizer has as a token ends an answer.
var endsOfTurn = []string{
	"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>",
	"<|endoftext|>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|return|>",
}

const templateMax = 1 << 20

// addedBeyond is how far above the embedding's rows an added token may stand. Gemma 3's text models have one there, which
// stands for an image: it never comes from a text, and the engine refuses ids that the graph has no row for.
const addedBeyond = 256

// readText reads what the tokenizer's files and the configuration say about special tokens and the chat template.
func (l *loader) readText() error {
	s := l.spec
	tc, err := l.object(l.TokenizerConfig)
	if err != nil {
		return err
	}
	s.BOSText, s.EOSText = special(tc, "bos_token"), special(tc, "eos_token")
	if err := l.readTemplate(tc); err != nil {
		return err
	}
	if err := tc.err(); err != nil {
		return err
	}
	v, err := l.readVocabulary(append([]string{s.BOSText, s.EOSText}, endsOfTurn...)...)
	if err != nil {
		return err
	}
	if v.baseMax >= int64(s.Vocab) || v.addedMax >= int64(s.Vocab)+addedBeyond {
		return &contractError{l.label(l.Tokenizer), "highest token id", fmt.Sprintf("less than the graph's vocabulary of %d", s.Vocab),
			fmt.Sprint(max(v.baseMax, v.addedMax))}
	}
	if s.Template == "" {
		l.builtinTemplate(v)
	}
	return l.readEnds(v)
}

// special reads a token of tokenizer_config.json, which is a text or an object with its content.
func special(o object, key string) string {
	v, _ := o.value(key)
	if m, ok := v.(*jsonobject.Object); ok {
		s, _ := m.Values["content"].(string)
		return s
	}
	return o.string(key)
}

// readTemplate takes the template from its own file, else from tokenizer_config.json.
func (l *loader) readTemplate(tc object) error {
	s := l.spec
	switch path.Ext(l.ChatTemplate) {
	case ".jinja":
		b, err := l.read(l.ChatTemplate, templateMax)
		if err != nil {
			return err
		}
		s.Template, s.TemplateSource = string(b), l.ChatTemplate
	case ".json":
		if s.Template = template(tc); s.Template != "" {
			s.TemplateSource = l.TokenizerConfig
			break
		}
		o, err := l.object(l.ChatTemplate)
		if err != nil {
			return err
		}
		s.Template, s.TemplateSource = template(o), l.ChatTemplate
		if err := o.err(); err != nil {
			return err
		}
	default:
		if s.Template = template(tc); s.Template != "" {
			s.TemplateSource = l.TokenizerConfig
		}
	}
	if len(s.Template) > templateMax {
		return l.fileError(s.TemplateSource, "the chat template has %d bytes, at most %d were expected", len(s.Template), templateMax)
	}
	return nil
}

// template reads the key chat_template: a text, or a list of named ones of which "default" is meant.
func template(o object) string {
	v, key := o.value("chat_template")
	list, ok := v.([]any)
	if !ok {
		return o.string("chat_template")
	}
	chosen := ""
	for _, x := range list {
		var m jsonobject.Object
		if named, ok := x.(*jsonobject.Object); ok {
			m = *named
		}
		name, _ := m.Values["name"].(string)
		text, isText := m.Values["template"].(string)
		if !isText {
			o.fail(key, "expected a list of named templates, found %s", jsonobject.Describe(x))
			return ""
		}
		if chosen == "" || name == "default" {
			chosen = text
		}
	}
	return chosen
}

// readEnds gathers every id that ends a text: of generation_config.json (or config.json when it says nothing),
// genai_config.json, the tokenizer's end token, and the end of turn that the chat template writes.
func (l *loader) readEnds(v *vocabulary) error {
	s := l.spec
	ends := map[int32]string{}
	add := func(by string, ids ...int32) {
		for _, id := range ids {
			if _, known := ends[id]; !known {
				ends[id] = by
			}
		}
	}
	generation := l.generation.ids("eos_token_id")
	if generation == nil {
		add(l.config.file, l.config.end...)
	}
	add(l.generation.file, generation...)
	add(l.genai.file, l.genai.end...)
	if id := v.id(s.EOSText); s.EOSText != "" && id >= 0 {
		add(l.label(l.TokenizerConfig), int32(min(id, 1<<31-1)))
	}
	harmony := strings.Contains(s.Template, "<|return|>") // there <|end|> ends a message of several
	for _, token := range endsOfTurn {
		id, ok := v.added[token]
		if ok && strings.Contains(s.Template, token) && !(harmony && token == "<|end|>") && id < int64(s.Vocab) {
			add(s.TemplateSource, int32(id))
		}
	}
	for id, by := range ends {
		if int(id) >= s.Vocab {
			return &contractError{by, "eos_token_id", fmt.Sprintf("less than the vocabulary of %d", s.Vocab), fmt.Sprint(id)}
		}
		s.End = append(s.End, id)
	}
	slices.Sort(s.End)
	return l.readMarks(v)
}

// readMarks finds the ids of begin and padding, and the texts of those that only have ids.
func (l *loader) readMarks(v *vocabulary) error {
	s := l.spec
	one := func(key string, from ...int32) int32 {
		if ids := l.generation.ids(key); ids != nil {
			from = append(ids[:1], from...)
		}
		for _, id := range from {
			if id >= 0 && int(id) < s.Vocab {
				return id
			}
		}
		return -1
	}
	s.BOS = one("bos_token_id", l.genai.bos, l.config.bos)
	s.Pad = one("pad_token_id", l.genai.pad, l.config.pad)
	if err := l.generation.err(); err != nil {
		return err
	}
	if id := v.id(s.BOSText); s.BOSText != "" && id >= 0 && id < int64(s.Vocab) {
		s.BOS = int32(id)
	}
	if s.BOSText == "" && s.BOS >= 0 && l.TokenizerConfig == "" {
		s.BOSText = v.texts[int64(s.BOS)]
	}
	if s.EOSText == "" && len(s.End) > 0 && l.TokenizerConfig == "" {
		s.EOSText = v.texts[int64(s.End[0])]
	}
	return nil
}
