package plain_test

import (
	"testing"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/plain"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

const window = 128

// The plain form of the embedded model computes what its int4 graph computes with float32 activations: sums are in another order, and nothing else
// differs. It gives the same tokens.
func TestItComputesTheSame(t *testing.T) {
	env := ortest.Env(t)
	folder, err := plain.FS(tiny.FS(), window)
	if err != nil {
		t.Fatal(err)
	}
	o := engine.Options{Context: window, Kernels: engine.KernelsExact}
	want, err := engine.OpenFS(env, tiny.FS(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	got, err := engine.OpenFS(env, folder, o)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	a, err := engine.Agree(want, got)
	t.Log(a)
	if err != nil || a.Error > 1e-4 || a.Largest > 1e-3 {
		t.Errorf("got %s, %v; want an error of 1e-4 and a largest difference of 1e-3 of the deviation at most", a, err)
	}
	for _, question := range []string{"What is the capital of France?", "Tell me a story about a fox.", "How many days are in a week?"} {
		w, g := answer(t, want, question), answer(t, got, question)
		if w != g || w == "" {
			t.Errorf("%s: got %q, want %q", question, g, w)
		}
	}
}

func answer(t *testing.T, m *engine.Model, question string) (text string) {
	t.Helper()
	q := engine.Request{Messages: []chat.Message{{Role: "user", Content: question}}, MaxTokens: 60}
	for token, err := range m.Generate(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		text += token.Text
	}
	return text
}
