package selftest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/coreml"
	"github.com/shammah/shammah-engine/engine"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/plain"
	"github.com/shammah/shammah-engine/engine/tiny"
	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

func TestTheCPU(t *testing.T) {
	r, err := Run(t.Context(), ortest.Env(t), "cpu", nil)
	if err != nil || r.Provider != "CPU" || r.Rate <= 0 || r.LoadMS <= 0 || r.Placement.Compute("cpu") != 1 {
		t.Errorf("got %+v, %v; want it right, on the CPU, with figures", r, err)
	}
	if !strings.HasPrefix(r.String(), "right on CPU, loaded in ") {
		t.Errorf("in words: %q", r)
	}
}

// The CPU by name stands in for a provider that takes nothing of int4: the plain form's answer and logits are compared with the reference's,
// which are the same but for the order of sums.
func TestAnotherProviderIsCompared(t *testing.T) {
	r, err := Run(t.Context(), ortest.Env(t), "another", []ort.Provider{{Name: "CPU"}})
	if err != nil || !r.Plain || r.Proved || r.Error <= 0 || r.Error > 1e-4 {
		t.Errorf("got %+v, %v; want the plain form right, but for rounding, and not proved: that was the CPU", r, err)
	}
	r.Proved = true
	if want := "right on CPU with the embedded model in float32 and without a cache, loaded in "; !strings.HasPrefix(r.String(), want) {
		t.Errorf("in words: %q, want it to begin with %q", r, want)
	}
}

// What the self-test gives CoreML is a graph that it takes but for what prepares the token ids.
func TestThePlainFormSuitsCoreML(t *testing.T) {
	folder, err := plain.FS(tiny.FS(), contextTokens)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		fsys        fs.FS
		least, most float64
	}{{"int4", tiny.FS(), 0, 0.1}, {"plain", folder, 1, 1}} {
		f, err := model.Find(test.fsys, "", model.FindOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m, tensors, err := f.ReadGraph()
		if err != nil {
			t.Fatal(err)
		}
		bytes := map[int]int64{}
		for _, n := range model.WeightedNodes(m.Graph) {
			bytes[n.Place] = n.Bytes
		}
		v := coreml.Takes(m.Graph, bytes)
		if v.Share < test.least || v.Share > test.most {
			t.Errorf("%s: %s; want %.0f to %.0f %%", test.name, v, test.least*100, test.most*100)
		}
		for _, r := range v.Reasons {
			if test.name == "plain" && r.Nodes > 0 {
				t.Errorf("plain: %s; want nothing that is refused", r)
			}
		}
		if err := tensors.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFailures(t *testing.T) {
	env := ortest.Env(t)
	if _, err := Run(t.Context(), env, "abacus", []ort.Provider{{Name: "Abacus"}}); err == nil || !strings.Contains(err.Error(), "Abacus") {
		t.Errorf("a provider that does not exist: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, env, "cpu", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMemory(t *testing.T) {
	m := Memory(filepath.Join(t.TempDir(), "deep", "providers"))
	want := Result{Provider: "CUDA", Placement: engine.Placement{{Provider: "CUDA", Nodes: 3, Bytes: 4}}, LoadMS: 1, Rate: 2}
	if _, ok := m.Recall("a"); ok {
		t.Error("nothing was remembered, and it is recalled")
	}
	m.Remember("a", want)
	if got, ok := m.Recall("a"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("recalled %+v, %v; want %+v", got, ok, want)
	}
	for _, broken := range []string{"", "{", "{}", "[1]"} {
		if err := os.WriteFile(m.file("a"), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := m.Recall("a"); ok {
			t.Errorf("file %q: recalled %+v, want nothing", broken, got)
		}
	}
	Memory("").Remember("a", want)
	if _, ok := Memory("").Recall("a"); ok {
		t.Error("recalled from nowhere")
	}
}

// Whatever an outcome depends on changes its key; nothing else does.
func TestKey(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "libonnxruntime.so")
	write := func(text string, at time.Time) {
		if err := errors.Join(os.WriteFile(lib, []byte(text), 0o600), os.Chtimes(lib, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	write("one", day)
	p := ort.Provider{Name: "CUDA", Options: map[string]string{"device_id": "0", "use_tf32": "0"}, Libraries: []ort.Library{{Paths: []string{"libcuda.so.1"}}}}
	first := key("1.31.1", lib, "580.65", p)
	if again := key("1.31.1", lib, "580.65", p); again != first {
		t.Errorf("the same again: %s, want %s", again, first)
	}
	other := func(change func(*ort.Provider)) ort.Provider {
		q := p
		q.Options = map[string]string{"device_id": "0", "use_tf32": "0"}
		change(&q)
		return q
	}
	seen := map[string]string{first: "the first"}
	for name, k := range map[string]string{
		"another runtime":   key("1.32.0", lib, "580.65", p),
		"another driver":    key("1.31.1", lib, "590.10", p),
		"another file":      key("1.31.1", lib+".2", "580.65", p),
		"another option":    key("1.31.1", lib, "580.65", other(func(q *ort.Provider) { q.Options["device_id"] = "1" })),
		"another provider":  key("1.31.1", lib, "580.65", other(func(q *ort.Provider) { q.Name = "TensorRT" })),
		"a plug-in":         key("1.31.1", lib, "580.65", other(func(q *ort.Provider) { q.Plugin = lib })),
		"another device":    key("1.31.1", lib, "580.65", other(func(q *ort.Provider) { q.Device = "gpu" })),
		"another library":   key("1.31.1", lib, "580.65", other(func(q *ort.Provider) { q.Libraries = []ort.Library{{Paths: []string{"/nv/libcuda.so.1"}}} })),
		"the file changed":  func() string { write("two and more", day); return key("1.31.1", lib, "580.65", p) }(),
		"the file's time":   func() string { write("one", day.Add(time.Hour)); return key("1.31.1", lib, "580.65", p) }(),
		"nothing but hints": first,
	} {
		if was := seen[k]; was != "" && name != "nothing but hints" {
			t.Errorf("%s has the key of %s", name, was)
		}
		seen[k] = name
	}
}
