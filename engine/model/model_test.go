package model

import (
	"os"
	"path/filepath"
	"testing"
)

// shared is a file or folder of the shared data beside the repository; the test is skipped where it is absent.
// (Not ortest.Shared: this package's tests build without the native headers.)
func shared(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", filepath.FromSlash(name)))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skipf("no shared file %s beside the repository: %v", name, err)
	}
	return path
}

func TestRealModel(t *testing.T) {
	dir := shared(t, "models/smollm2-135m-instruct/genai-int4")
	f, err := Find(os.DirFS(dir), dir, FindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Load(Signature{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Layout != LayoutB || f.Graph != "model.onnx" || len(f.Data) != 1 || f.Data[0] != "model.onnx.data" {
		t.Errorf("files: %+v", f)
	}
	if s.Layers != 30 || s.KVHeads != 3 || s.HeadDim != 64 || s.Vocab != 49152 || s.ContextMax != 8192 || !s.Shared || s.LastRowOnly {
		t.Errorf("sizes: layers %d, kv heads %d, head dim %d, vocab %d, context %d, shared %v, last row only %v",
			s.Layers, s.KVHeads, s.HeadDim, s.Vocab, s.ContextMax, s.Shared, s.LastRowOnly)
	}
	if s.Parameters != 134_515_008 {
		t.Errorf("parameters: got %d, want the 134,515,008 of SmolLM2-135M", s.Parameters)
	}
	if len(s.End) != 2 || s.End[0] != 0 || s.End[1] != 2 || s.BOSText != "<|im_start|>" || s.EOSText != "<|im_end|>" {
		t.Errorf("ends: %v, begin %q, end %q", s.End, s.BOSText, s.EOSText)
	}
	if kv, err := s.KVBytes(4096); err != nil || kv != 2*30*3*64*4096*4 {
		t.Errorf("KVBytes(4096) = %d, %v", kv, err)
	}
}
