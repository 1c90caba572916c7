// Package selftest proves a provider on the embedded model: it must answer as the CPU does, and its logits must be the CPU's but for
// rounding. What was proved is remembered for the libraries and the driver with which it was.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/ort"
)

// The embedded model knows this fact; a provider that computes right finds it.
const (
	question = "What is the capital of France?"
	answer   = "Paris"
	tokens   = 16
)

// Result is what a provider did.
type Result struct {
	Provider  string           `json:"provider"` // who truly computed
	Proved    bool             `json:"proved"`   // whether that was the one under test, and not the CPU in its place
	Placement engine.Placement `json:"placement"`
	LoadMS    float64          `json:"load_ms"`
	Rate      float64          `json:"tokens_per_second"`
	Error     float64          `json:"logits_error"` // over the deviation of the CPU's; 0 for the CPU itself
}

func (r Result) String() string {
	if !r.Proved {
		return "not proved: the embedded model ran on " + r.Provider
	}
	return fmt.Sprintf("right on %s, loaded in %.0f ms, %.0f tok/s", r.Provider, r.LoadMS, r.Rate)
}

// Run answers with the embedded model on the providers, none being the CPU, and compares that with the CPU. name is the provider's for
// messages.
func Run(ctx context.Context, env *ort.Env, name string, providers []ort.Provider) (r Result, err error) {
	start := time.Now()
	m, err := open(env, engine.Options{Providers: providers})
	if err != nil {
		return r, err
	}
	defer m.Close()
	r = Result{Provider: m.Provider(), Placement: m.Placement(), LoadMS: time.Since(start).Seconds() * 1e3}
	text, stats, err := ask(ctx, m)
	if err != nil {
		return r, err
	}
	r.Rate = stats.DecodeRate()
	if len(providers) == 0 {
		if !strings.Contains(text, answer) {
			return r, fmt.Errorf("selftest: the embedded model was asked %q on %s, expected %q in the answer, found %q: it computes wrong", question, name, answer, text)
		}
		r.Proved = true
		return r, nil
	}
	r.Proved = r.Placement.Compute("CPU") < 0.5
	reference, err := open(env, engine.Options{Kernels: engine.KernelsExact})
	if err != nil {
		return r, err
	}
	defer reference.Close()
	want, _, err := ask(ctx, reference)
	if err != nil {
		return r, err
	}
	if text != want {
		return r, fmt.Errorf("selftest: the embedded model was asked %q: %s answers %q where the CPU answers %q: %s computes wrong", question, name, text, want, name)
	}
	agreement, err := engine.Agree(reference, m)
	if err != nil {
		return r, fmt.Errorf("selftest: %s computes wrong: %w", name, err)
	}
	r.Error = agreement.Error
	return r, nil
}

// contextTokens has room for what is compared and for the answer.
const contextTokens = 128

func open(env *ort.Env, o engine.Options) (*engine.Model, error) {
	o.Context, o.Name = contextTokens, "tiny"
	return engine.OpenFS(env, tiny.FS(), o)
}

// ask gives the first tokens of the answer, the likeliest each.
func ask(ctx context.Context, m *engine.Model) (text string, stats *engine.Stats, err error) {
	q := engine.Request{Messages: []chat.Message{{Role: "user", Content: question}}, MaxTokens: tokens}
	for token, err := range m.Generate(ctx, q) {
		if err != nil {
			return "", nil, err
		}
		text += token.Text
		if token.Stats != nil {
			stats = token.Stats
		}
	}
	if stats == nil {
		return "", nil, errors.New("selftest: the answer has no end")
	}
	return text, stats, nil
}
