// Package selftest proves a provider on the embedded model: it must answer as the CPU does, and its logits must be the CPU's but for
// rounding. A provider that takes none of its int4 weights is proved on its plain form, of ONNX's own operators in float32. What was proved is
// remembered for the libraries and the driver with which it was.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/shammah/shammah-engine/coreml"
	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/plain"
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
	Plain     bool             `json:"plain"`    // whether that was on the plain form of the embedded model
	Placement engine.Placement `json:"placement"`
	LoadMS    float64          `json:"load_ms"`
	Rate      float64          `json:"tokens_per_second"`
	Error     float64          `json:"logits_error"` // over the deviation of the CPU's; 0 for the CPU itself
}

func (r Result) String() string {
	if !r.Proved {
		return "not proved: the embedded model ran on " + r.Provider
	}
	form := ""
	if r.Plain {
		form = " with the embedded model in float32 and without a cache"
	}
	return fmt.Sprintf("right on %s%s, loaded in %.0f ms, %.0f tok/s", r.Provider, form, r.LoadMS, r.Rate)
}

// Run answers with the embedded model on the providers, none being the CPU, and compares that with the CPU. name is the provider's for
// messages.
func Run(ctx context.Context, env *ort.Env, name string, providers []ort.Provider) (r Result, err error) {
	m, r, err := load(ctx, env, providers)
	if err != nil {
		return r, err
	}
	defer m.Close()
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
	r.Proved = proves(r.Placement)
	reference, err := open(env, tiny.FS(), engine.Options{Kernels: engine.KernelsExact})
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

// proves says whether it is not the CPU that computes.
func proves(p engine.Placement) bool { return p.Compute("CPU") < 0.5 }

// load opens the embedded model on the providers: as it is, or in its plain form where they leave that to the CPU.
func load(ctx context.Context, env *ort.Env, providers []ort.Provider) (m *engine.Model, r Result, err error) {
	o := engine.Options{Providers: providers}
	start := time.Now()
	// CoreML is known to take nothing of the former but what lies between, in a hundred pieces that are compiled one by one.
	if len(providers) == 0 || providers[0].Name != coreml.Name {
		if m, err = open(env, tiny.FS(), o); err != nil {
			return nil, r, err
		}
		if len(providers) == 0 || proves(m.Placement()) {
			return m, result(m, start), nil
		}
		if err := errors.Join(m.Close(), ctx.Err()); err != nil {
			return nil, r, err
		}
	}
	folder, err := plain.FS(tiny.FS(), contextTokens)
	if err != nil {
		return nil, r, err
	}
	start = time.Now()
	if m, err = open(env, folder, o); err != nil {
		return nil, r, err
	}
	r = result(m, start)
	r.Plain = true
	return m, r, nil
}

func result(m *engine.Model, start time.Time) Result {
	return Result{Provider: m.Provider(), Placement: m.Placement(), LoadMS: time.Since(start).Seconds() * 1e3}
}

func open(env *ort.Env, fsys fs.FS, o engine.Options) (*engine.Model, error) {
	o.Context, o.Name = contextTokens, "tiny"
	return engine.OpenFS(env, fsys, o)
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
