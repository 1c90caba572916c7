package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

const (
	testRepo = "owner/model"
	canary   = "hf_canaryCANARYcanary0123456789"
)

// graphOf is an ONNX file with the tensor w, whose bytes lie in the file data ("" for inside).
func graphOf(data string, size int) []byte {
	w := onnxtest.Tensor{Name: "w", Type: 1, Dims: []int64{int64(size / 4)}}
	if data == "" {
		w.Raw = make([]byte, size)
	} else {
		w.External = [][2]string{{"location", data}, {"offset", "0"}, {"length", fmt.Sprint(size)}}
	}
	return onnxtest.Encode(onnxtest.Graph{Tensors: []onnxtest.Tensor{w}})
}

// modelFiles are a small repository of layout A with the variants q4 and fp32.
func modelFiles() map[string][]byte {
	weights := func(seed byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i*7+i>>9) ^ seed
		}
		return b
	}
	return map[string][]byte{
		"config.json":             []byte(`{"model_type": "qwen2"}`),
		"generation_config.json":  []byte(`{}`),
		"tokenizer.json":          []byte(`{"version": "1.0"}`),
		"tokenizer_config.json":   []byte(`{"a": 1}`),
		"special_tokens_map.json": []byte(`{"b": 2}`),
		"README.md":               []byte("# nobody needs this\n"),
		"onnx/model.onnx":         graphOf("model.onnx_data", 400_000),
		"onnx/model.onnx_data":    weights(1, 400_000),
		"onnx/model_q4.onnx":      graphOf("model_q4.onnx_data", 200_000),
		"onnx/model_q4.onnx_data": weights(2, 200_000),
	}
}

// world is a hub with a model, an empty cache and a client between them, whose pauses are noted and not slept.
type world struct {
	*testing.T
	hub    *hubtest.Hub
	files  map[string][]byte
	commit string
	client *Client
	env    Env

	mutex  sync.Mutex
	pauses []time.Duration
	events []Event
	output strings.Builder // all that a user would see
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, hub: hubtest.New(t), files: modelFiles(), env: Env{Home: t.TempDir(), Cache: filepath.Join(t.TempDir(), "hub")}}
	w.commit = w.hub.Add(testRepo, "main", w.files)
	w.client = w.newClient(Access{Endpoint: w.hub.URL, Token: canary})
	t.Cleanup(func() {
		if strings.Contains(w.output.String(), canary) {
			t.Error("the token was shown")
		}
		if strings.Contains(w.output.String(), "secret-of-the-address") {
			t.Error("the signature of an address was shown")
		}
	})
	return w
}

func (w *world) newClient(a Access) *Client {
	w.Helper()
	c, err := New(w.env, a, Options{Agent: "test"})
	if err != nil {
		w.Fatal(err)
	}
	c.jitter = func() float64 { return 0 }
	c.disk = &faultyDisk{}
	c.sleep = func(ctx context.Context, d time.Duration) error {
		w.mutex.Lock()
		w.pauses = append(w.pauses, d)
		w.mutex.Unlock()
		return ctx.Err()
	}
	w.Cleanup(c.Close)
	return c
}

// pull plans and downloads.
func (w *world) pull(o PlanOptions) (*Plan, error) {
	w.Helper()
	return w.pullWith(w.Context(), w.client, o)
}

func (w *world) pullWith(ctx context.Context, c *Client, o PlanOptions) (*Plan, error) {
	w.Helper()
	note := func(err error) error {
		if err != nil {
			fmt.Fprintln(&w.output, err)
			if strings.Contains(err.Error(), "\n") {
				w.Errorf("more than a line: %q", err)
			}
		}
		return err
	}
	p, err := c.Plan(ctx, testRepo, o)
	if err != nil {
		return nil, note(err)
	}
	fmt.Fprintf(&w.output, "%+v %+v\n", *p, c.access)
	for e, err := range c.Pull(ctx, p) {
		fmt.Fprintf(&w.output, "%+v\n", e)
		w.events = append(w.events, e)
		if err != nil {
			return p, note(err)
		}
	}
	return p, nil
}

// whole checks that the snapshot has these files with their bytes, and that no blob is wrong.
func (w *world) whole(names ...string) {
	w.Helper()
	r := w.env.repo(testRepo)
	for _, name := range names {
		got, err := os.ReadFile(r.link(w.commit, name))
		if err != nil || string(got) != string(w.files[name]) {
			w.Errorf("%s: %d bytes, %v; want %d bytes", name, len(got), err, len(w.files[name]))
		}
	}
	w.blobsAreRight()
}

// blobsAreRight checks that every blob under a final name is what its name says: what must be true at all times.
func (w *world) blobsAreRight() (partials int) {
	w.Helper()
	entries, _ := os.ReadDir(w.env.repo(testRepo).blobs())
	for _, e := range entries {
		if strings.Contains(e.Name(), ".") {
			partials++
			continue
		}
		b, err := os.ReadFile(filepath.Join(w.env.repo(testRepo).blobs(), e.Name()))
		if err != nil || e.Name() != hubtest.SHA256(b) && e.Name() != hubtest.GitSHA1(b) {
			w.Errorf("the blob %s is corrupt (%d bytes, %v)", e.Name(), len(b), err)
		}
	}
	return partials
}

// wantError checks class and words of an error, and that no model can be seen.
func (w *world) wantError(err error, code Code, words ...string) {
	w.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		w.Fatalf("got %v, want the class %s", err, code)
	}
	for _, word := range append(words, string(code)) {
		if !strings.Contains(err.Error(), word) {
			w.Errorf("got %q, want it to say %q", err, word)
		}
	}
	if _, err := os.Stat(filepath.Join(w.env.repo(testRepo).snapshot(w.commit), "onnx")); err == nil {
		w.Error("something can be seen in the snapshot after a failure")
	}
	w.blobsAreRight()
}

var q4Files = []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data"}

func TestPull(t *testing.T) {
	w := newWorld(t)
	w.client.disk = realDisk{}
	w.hub.Page = 3
	p, err := w.pull(PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Commit != w.commit || p.Variant != "q4" || len(p.Files) != len(q4Files) {
		t.Errorf("got commit %s, variant %s, files %v", p.Commit, p.Variant, p.Files)
	}
	w.whole(q4Files...)
	if entries, _ := os.ReadDir(w.env.repo(testRepo).blobs()); len(entries) != len(q4Files) {
		t.Errorf("%d blobs, want %d: %v", len(entries), len(q4Files), entries)
	}
	if b, err := os.ReadFile(w.env.repo(testRepo).ref("main")); string(b) != w.commit {
		t.Errorf("refs/main is %q, %v", b, err)
	}
	if target, err := os.Readlink(w.env.repo(testRepo).link(w.commit, "onnx/model_q4.onnx")); err != nil || !strings.HasPrefix(target, "../../../blobs/") {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	last := w.events[len(w.events)-1]
	if last.Kind != Finished || last.Done != p.Total() || last.Ready != len(q4Files) || last.Dir != p.Dir {
		t.Errorf("the last event is %+v, want all of %d bytes", last, p.Total())
	}
	if dir, err := Resolve(testRepo, w.env); err != nil || dir != p.Dir {
		t.Errorf("Resolve gives %q, %v; want %q", dir, err, p.Dir)
	}
	// Again: nothing is downloaded.
	before := w.hub.Downloads()
	if _, err := w.pull(PlanOptions{}); err != nil || w.hub.Downloads() != before {
		t.Errorf("the second pull: %v, %d downloads", err, w.hub.Downloads()-before)
	}
	// Another variant shares what it can.
	if _, err := w.pull(PlanOptions{Variant: "fp32"}); err != nil {
		t.Fatal(err)
	}
	w.whole(append(q4Files, "onnx/model.onnx", "onnx/model.onnx_data")...)
}

func TestVariantByMemory(t *testing.T) {
	w := newWorld(t)
	w.files["onnx/model_int8.onnx"] = graphOf("", 100_000)
	w.commit = w.hub.Add(testRepo, "main", w.files)
	tests := []struct {
		memory int64
		o      PlanOptions
		want   string
		warns  bool
	}{
		{0, PlanOptions{}, "q4", false},
		{1 << 40, PlanOptions{}, "q4", false},
		{300<<20 + 180_000, PlanOptions{}, "int8", true},
		{1 << 20, PlanOptions{}, "int8", true},
		{1 << 20, PlanOptions{Variant: "fp32"}, "fp32", false},
		{0, PlanOptions{Provider: "coreml"}, "fp32", false},
		{0, PlanOptions{Provider: "cuda"}, "q4", false},
	}
	for _, test := range tests {
		test.o.Memory = test.memory
		p, err := w.client.Plan(t.Context(), testRepo, test.o)
		if err != nil || p.Variant != test.want || (len(p.Warnings) > 0) != test.warns {
			t.Errorf("%+v: got %+v, %v", test, p, err)
		}
	}
}

// A GPU computes in float16: its variants are taken for it, and left alone for the CPU.
func TestVariantByProvider(t *testing.T) {
	w := newWorld(t)
	w.files["onnx/model_fp16.onnx"] = graphOf("", 100_000)
	for _, more := range []struct{ file, cuda, coreml string }{{"", "fp16", "fp16"}, {"onnx/model_q4f16.onnx", "q4f16", "fp16"}} {
		if more.file != "" {
			w.files[more.file] = graphOf("", 100_000)
		}
		w.commit = w.hub.Add(testRepo, "main", w.files)
		for provider, want := range map[string]string{"": "q4", "cpu": "q4", "cuda": more.cuda, "coreml": more.coreml} {
			if p, err := w.client.Plan(t.Context(), testRepo, PlanOptions{Provider: provider}); err != nil || p.Variant != want {
				t.Errorf("for %q, with %q: %v, %v; want %s", provider, more.file, p, err, want)
			}
		}
	}
}

// Weights whose names do not follow the graph's are found in the graph.
func TestDataNamedByGraph(t *testing.T) {
	w := newWorld(t)
	w.files["onnx/model_q4.onnx"] = graphOf("weights_data.bin", 200_000)
	w.files["onnx/weights_data.bin"] = w.files["onnx/model_q4.onnx_data"]
	delete(w.files, "onnx/model_q4.onnx_data")
	w.commit = w.hub.Add(testRepo, "main", w.files)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole("onnx/model_q4.onnx", "onnx/weights_data.bin", "config.json")
	w.files["onnx/model_q4.onnx"] = graphOf("../../secret", 200_000)
	w.commit = w.hub.Add(testRepo, "main", w.files)
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeEntry, "../../secret")
}

func answer(status int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}
