package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// floatHub is a hub with the float fixture of layout A, whose variants are these.
func floatHub(t *testing.T, variants ...string) {
	t.Helper()
	h := qwenHub(t)
	t.Setenv("SHAMMAH_HOME", t.TempDir())
	root, files := os.DirFS(fixture(t, "a-fp32")), map[string][]byte{}
	if err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, v := range variants {
		files["onnx/model_"+v+".onnx"] = files["onnx/model.onnx"]
	}
	h.Add("owner/float", "main", files)
}

func TestPullQuantised(t *testing.T) {
	floatHub(t)
	want(t, 2, "--quantize is \"int3\", expected int4", "pull", "--quantize", "int3", "owner/float")
	want(t, 2, "--quantize is \"\", expected int4", "pull", "--quantize", "", "owner/float")
	want(t, 2, "belong to --quantize", "pull", "--keep", "owner/float")
	want(t, 0, "then it is quantised to int4 and called float-int4", "pull", "--quantize", "int4", "--dry-run", "owner/float")
	want(t, 1, "did you mean", "run", "--model", "gwen-0.5b", "x")
	got := want(t, 0, "float-int4 is here, in ", "pull", "--quantize", "int4", "owner/float")
	if !strings.Contains(got.out, "The float files are removed again") {
		t.Errorf("got %q, want a word about the float files", got.out)
	}
	want(t, 0, "float-int4  quantised here", "list")
	want(t, 0, "quantised here from owner/float@", "show", "float-int4")
	want(t, 0, `"imported":true`, "list", "--json")
	want(t, 0, `"head_bits":8`, "show", "--json", "float-int4")
	want(t, 0, "", "run", "--model", "float-int4", "--max-tokens", "2", "hello")
	want(t, 0, "", "run", "--model", "float-int4", "--kernels", "off", "--max-tokens", "2", "hello")
	want(t, 0, "float-int4 is here already", "pull", "--quantize", "int4", "owner/float")
	want(t, 1, "the name is taken", "pull", "--quantize", "int4", "--name", "float-int4", "onnx-community/Qwen2.5-1.5B-Instruct")
	want(t, 1, "only what lies in the cache", "verify", "float-int4")
	want(t, 0, "float-int4 is removed", "rm", "float-int4")
	want(t, 0, "No model is in the cache", "list")
	want(t, 1, "fetch it with", "run", "--model", "owner/float", "hello")
}

// What was in the cache before stays there.
func TestPullQuantisedKeepsWhatWasThere(t *testing.T) {
	floatHub(t, "q4")
	want(t, 0, "is here", "pull", "owner/float") // the variant q4
	want(t, 2, "--provider chooses of what lies ready", "pull", "--quantize", "int4", "--provider", "cpu", "owner/float")
	want(t, 0, "The float files stay in the cache", "pull", "--quantize", "int4", "owner/float")
	want(t, 0, "fp32", "list")
	want(t, 0, "float2 is here, in ", "pull", "--quantize", "int4", "--name", "float2", "owner/float")
	want(t, 0, `"event":"quantised"`, "pull", "--json", "--quantize", "int4", "--name", "float3", "owner/float")
	want(t, 1, "no variant", "pull", "--quantize", "int4", "--variant", "bf16", "--name", "float4", "owner/float")
}

func TestImport(t *testing.T) {
	floatHub(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "mine"), os.DirFS(fixture(t, "a-fp16"))); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "mine")
	want(t, 0, "mine is "+mine+", which stays where it is", "import", mine)
	want(t, 0, "mine is here already", "import", mine)
	want(t, 0, "imported from "+mine, "list")
	want(t, 0, mine+", imported as mine", "show", "mine")
	want(t, 0, "", "run", "--model", "mine", "--max-tokens", "2", "hello")
	want(t, 1, "the name is taken by another model", "import", "--name", "mine", fixture(t, "b-fp32"))
	want(t, 1, "the name is taken by the catalogue", "import", "--name", "Qwen-1.5b", mine)
	want(t, 1, "letters, digits", "import", "--name", "../up", mine)
	want(t, 1, "the folder does not exist", "import", filepath.Join(dir, "none"))
	want(t, 1, "the folder is empty", "import", t.TempDir())
	want(t, 2, "expected a model's folder", "import")
	want(t, 1, "the name is taken", "import", "--quantize", "int4", "--name", "mine", mine)

	want(t, 0, "the float16 graph becomes a float32 one", "import", "--quantise", "int4", mine)
	want(t, 0, "mine-int4 is here already", "import", "--quantize", "int4", mine)
	if err := os.Chtimes(filepath.Join(mine, "onnx", "model_fp16.onnx"), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	want(t, 1, "the name is taken by another model", "import", "--quantize", "int4", mine) // exported anew
	want(t, 2, "--variant belongs to --quantize", "import", "--variant", "fp32", mine)
	want(t, 1, "quantised already", "import", "--quantize", "int4", fixture(t, "b-int4"))
	want(t, 0, "mine is forgotten; its files stay in "+mine, "rm", "mine")
	if _, err := os.Stat(filepath.Join(mine, "config.json")); err != nil {
		t.Errorf("rm of an imported model: %v", err)
	}
	want(t, 0, "mine is "+mine, "import", mine)
	if err := os.RemoveAll(mine); err != nil {
		t.Fatal(err)
	}
	want(t, 1, "which is gone; forget it with: shammah-engine rm mine", "run", "--model", "mine", "hello")
	want(t, 0, "", "run", "--model", "mine-int4", "--max-tokens", "2", "hello")
	want(t, 0, "is forgotten", "rm", "mine")
}
