package engine

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/engine/chat"
	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
)

// What PEFT computes with the adapters of lora/testdata (scripts/lora/reference.py).
type (
	peftRandom struct {
		Prompts [][]int32
		Cases   []struct {
			Adapters []AdapterUse
			Logits   [][]float32 // of each prompt's last token
			IDs      [][]int32   // greedy, as far as they are clear
		}
	}
	peftPirate struct {
		Answers []struct {
			Messages      []chat.Message
			Base, Adapted string
		}
		Prompt struct {
			IDs           []int32
			Base, Adapted []float32
		}
	}
)

func readPeft(t testing.TB, name string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("lora/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

// loadFile makes an adapter of lora/testdata known under a name.
func loadFile(t testing.TB, m *Model, name, path string) {
	t.Helper()
	a, err := lora.Load(filepath.Join("lora/testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	load(t, m, name, a)
}

// lastLogits is a prompt's last row, computed with adapters.
func lastLogits(t testing.TB, m *Model, ids []int32, uses ...AdapterUse) []float32 {
	t.Helper()
	set, drop, err := m.adapted(uses)
	if err != nil {
		t.Fatal(err)
	}
	defer drop()
	cancel, release, err := m.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	m.runner.cancel = cancel
	if err := errors.Join(m.runner.adapt(set), m.runner.Keep(0)); err != nil {
		t.Fatal(err)
	}
	row, err := m.runner.Feed(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(row.Floats())
}

// Adapters give the logits that PEFT gives, in both layouts and from both forms of file: one, with a scale, two merged.
func TestPeft(t *testing.T) {
	var want peftRandom
	readPeft(t, "random.json", &want)
	for _, folder := range []string{"a-fp32", "b-fp32"} {
		for form, file := range map[string]string{"peft": "", "onnx": "adapter.onnx_adapter"} {
			t.Run(folder+"/"+form, func(t *testing.T) {
				m := openFixture(t, folder, Options{Adapters: true, Threads: 2})
				for _, name := range []string{"north", "south"} {
					loadFile(t, m, name, filepath.Join(name, file))
				}
				farthestOf, checked := 0.0, 0
				for _, c := range want.Cases {
					for i, prompt := range want.Prompts {
						got := lastLogits(t, m, prompt, c.Adapters...)
						far := farthest([][]float32{got}, [][]float32{c.Logits[i]})
						if farthestOf = max(farthestOf, far); !(far <= 1e-3) {
							t.Errorf("%v, prompt of %d tokens: at most %g from PEFT's logits, want 1e-3", c.Adapters, len(prompt), far)
						}
						if len(c.IDs[i]) == 0 {
							continue
						}
						checked += len(c.IDs[i])
						ids := tokens(t, m, Request{Tokens: prompt, MaxTokens: len(c.IDs[i]), IgnoreEnd: true, Adapters: c.Adapters})
						if !slices.Equal(ids, c.IDs[i]) {
							t.Errorf("%v, prompt of %d tokens:\ngot  %v\nwant %v", c.Adapters, len(prompt), ids, c.IDs[i])
						}
					}
				}
				t.Logf("at most %.2g from PEFT's logits; %d tokens alike", farthestOf, checked)
			})
		}
	}
}

// The pirate answers as PEFT's does, and the old text is back when it has gone.
func TestPirate(t *testing.T) {
	var want peftPirate
	readPeft(t, "pirate.json", &want)
	m, err := OpenFS(ortest.Env(t), tiny.FS(), Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ask := func(uses ...AdapterUse) (said []string) {
		for _, a := range want.Answers {
			var text strings.Builder
			for token, err := range m.Generate(t.Context(), Request{Messages: a.Messages, MaxTokens: 64, Adapters: uses}) {
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString(token.Text)
			}
			said = append(said, text.String())
		}
		return said
	}
	before := ask()
	loadFile(t, m, "pirate", "pirate")
	adapted := ask(AdapterUse{"pirate", 1})
	if err := m.RemoveAdapter("pirate"); err != nil {
		t.Fatal(err)
	}
	if after := ask(); !slices.Equal(before, after) {
		t.Errorf("after its removal:\ngot  %q\nwant %q", after, before)
	}
	asBase, asPirate, changed := 0, 0, 0
	for i, a := range want.Answers {
		if before[i] == a.Base {
			asBase++
		}
		if strings.HasPrefix(adapted[i], "Arr! ") {
			changed++
		}
		if adapted[i] == a.Adapted {
			asPirate++
		} else {
			t.Logf("%q: got %q, PEFT %q", a.Messages[len(a.Messages)-1].Content, adapted[i], a.Adapted)
		}
	}
	n := len(want.Answers)
	t.Logf("as PEFT's: %d without and %d with the adapter, of %d", asBase, asPirate, n)
	if n < 40 || changed != n || 100*asBase < 95*n || 100*asPirate < 90*n {
		t.Errorf("of %d answers %d without and %d with the adapter are as PEFT's, %d a pirate's: want 95 %%, 90 %% and all", n, asBase, asPirate, changed)
	}
}

// With float32 activations the embedded model's logits are those of its checkpoint, with the pirate and without.
func TestPirateLogits(t *testing.T) {
	var want peftPirate
	readPeft(t, "pirate.json", &want)
	m, err := OpenFS(ortest.Env(t), tiny.FS(), Options{Threads: 2, Kernels: KernelsExact, Adapters: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	loadFile(t, m, "pirate", "pirate")
	for _, c := range []struct {
		uses []AdapterUse
		want []float32
	}{{nil, want.Prompt.Base}, {[]AdapterUse{{"pirate", 1}}, want.Prompt.Adapted}} {
		far := farthest([][]float32{lastLogits(t, m, want.Prompt.IDs, c.uses...)}, [][]float32{c.want})
		t.Logf("%v: at most %.2g from PEFT's logits", c.uses, far)
		if !(far <= 1e-3) {
			t.Errorf("%v: at most %g from PEFT's logits, want 1e-3", c.uses, far)
		}
	}
}
