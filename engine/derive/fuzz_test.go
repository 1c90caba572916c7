package derive_test

import (
	"bytes"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// A damaged graph is derived into one that can be read, or refused; never a panic.
func FuzzDerive(f *testing.F) {
	fsys := os.DirFS("../testdata/b-int4")
	graph, err := fs.ReadFile(fsys, "model.onnx")
	if err != nil {
		f.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range []string{"model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json"} {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			f.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	f.Add(uint16(0), byte(0), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, at uint16, with byte, at2 uint16, with2 byte) {
		b := bytes.Clone(graph)
		b[int(at)%len(b)] ^= with
		b[int(at2)%len(b)] ^= with2
		files["model.onnx"] = &fstest.MapFile{Data: b}
		found, err := model.Find(files, "", model.FindOptions{})
		if err != nil {
			return
		}
		spec, err := found.Load(model.Signature{})
		if err != nil {
			return
		}
		m, tensors, err := found.ReadGraph()
		if err != nil {
			return
		}
		defer tensors.Close()
		p, err := derive.Derive(m, spec, derive.Options{Read: tensors.Read})
		if err != nil {
			return
		}
		out, err := onnx.Write(p.Model, bytes.NewReader(b))
		if err != nil {
			t.Fatalf("write: %v", err)
		}
		if _, err := onnx.Read(bytes.NewReader(out), int64(len(out))); err != nil {
			t.Fatalf("the derived graph cannot be read: %v", err)
		}
	})
}
