package model

// A template of our own stands in where a model brings none but has the tokens of a known family.
type builtin struct {
	name   string
	tokens []string // all of them are added tokens of the tokenizer
	source string
}

var builtins = []builtin{
	{"chatml", []string{"<|im_start|>", "<|im_end|>"},
		"{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
	{"llama3", []string{"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
		"{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"},
	{"gemma", []string{"<start_of_turn>", "<end_of_turn>"},
		"{{ bos_token }}{% set turns = messages %}{% set intro = '' %}" +
			"{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set intro = messages[0]['content'] + '\n\n' %}{% endif %}" +
			"{% for message in turns %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}" +
			"{% if loop.first %}{{ intro }}{% endif %}{{ message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"},
	{"phi3", []string{"<|user|>", "<|assistant|>", "<|end|>"},
		"{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"},
}

// builtinTemplate takes the first built-in template whose tokens the tokenizer has.
func (l *loader) builtinTemplate(v *vocabulary) {
next:
	for _, b := range builtins {
		for _, token := range b.tokens {
			if _, ok := v.added[token]; !ok {
				continue next
			}
		}
		l.spec.Template, l.spec.TemplateSource = b.source, "built-in "+b.name
		return
	}
}
