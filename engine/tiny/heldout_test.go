package tiny_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// The share of held-out questions that must be answered right, word for word, under greedy decoding.
const heldOutShare = 0.95

// Questions that training never saw: combinations of fact and wording, and dialogues.
func TestHeldOutQuestions(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and the work of one goroutine: not with -short")
	}
	data, err := os.ReadFile("testdata/heldout.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for name, kernels := range map[string]engine.Kernels{"our kernels": engine.KernelsAuto, "the runtime's": engine.KernelsOff} {
		t.Run(name, func(t *testing.T) { askHeldOut(t, data, engine.Options{Kernels: kernels}) })
	}
}

func askHeldOut(t *testing.T, data []byte, o engine.Options) {
	m, err := engine.OpenFS(ortest.Env(t), tiny.FS(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if why := m.Kernels(); (why == "") != (o.Kernels == engine.KernelsAuto) {
		t.Fatalf("kernels: got %q", why)
	}
	type question struct {
		Group    string
		Messages []chat.Message
		Answer   string
	}
	right, all := map[string]int{}, map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		got := ""
		for token, err := range m.Generate(t.Context(), engine.Request{Messages: q.Messages, MaxTokens: 64}) {
			if err != nil {
				t.Fatal(err)
			}
			got += token.Text
		}
		all[q.Group]++
		if got == q.Answer {
			right[q.Group]++
		} else {
			t.Logf("asked %q: got %q, want %q", q.Messages[len(q.Messages)-1].Content, got, q.Answer)
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no questions")
	}
	for group, n := range all {
		t.Logf("%s: %d of %d right", group, right[group], n)
		if share := float64(right[group]) / float64(n); share < heldOutShare {
			t.Errorf("%s: %d of %d right (%.1f %%), want at least %.0f %%", group, right[group], n, 100*share, 100*heldOutShare)
		}
	}
}
