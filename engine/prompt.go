package engine

import (
	"fmt"
	"math/rand/v2"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
)

// encodeMessages renders a conversation through the model's own chat template and gives its ids. Control tokens come from the template
// alone: where a message's content spells one, it is plain text. More ids than most are a *text.LongError.
func (m *Model) encodeMessages(messages []chat.Message, most int) ([]int32, error) {
	if m.template == nil {
		return nil, fmt.Errorf("engine: read the request: %s has no chat template; give the prompt as text", m.spec.Name)
	}
	list := make([]any, len(messages))
	for i, msg := range messages {
		list[i] = map[string]any{"role": msg.Role, "content": msg.Content}
	}
	prompt, err := m.template.RenderPrompt(m.tokenizer, map[string]any{
		"messages":              list,
		"add_generation_prompt": true,
		"bos_token":             m.spec.BOSText,
		"eos_token":             m.spec.EOSText,
	})
	if err != nil {
		return nil, fmt.Errorf("engine: render the conversation: %w", err)
	}
	return m.tokenizer.EncodePrompt(prompt, most)
}

// DefaultSampling is what the model's own configuration says about sampling; greedy where it says nothing or do_sample is off.
func DefaultSampling(s *model.Spec) sample.Params {
	d := s.Sampling
	p := sample.Params{TopP: 1, RepetitionPenalty: 1}
	set := func(to, from *float32) {
		if from != nil {
			*to = *from
		}
	}
	set(&p.RepetitionPenalty, d.RepetitionPenalty)
	set(&p.PresencePenalty, d.PresencePenalty)
	set(&p.FrequencyPenalty, d.FrequencyPenalty)
	if d.DoSample == nil || !*d.DoSample {
		return p
	}
	p.Temperature = 1
	set(&p.Temperature, d.Temperature)
	set(&p.TopP, d.TopP)
	set(&p.MinP, d.MinP)
	if d.TopK != nil {
		p.TopK = max(*d.TopK, 0) // some write -1 for what is off
	}
	if p.TopP == 0 { // transformers' way to say: the likeliest alone
		p.TopK, p.TopP = 1, 1
	}
	return p
}

// RandomSeed is a seed for a request that names none.
func RandomSeed() uint64 { return rand.Uint64() }
