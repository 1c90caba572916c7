package model

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/onnx"
	"github.com/shammah/shammah-engine/internal/onnx/onnxtest"
)

// M-02: external data that the graph may not use, or that is not what the graph says.
func TestExternalData(t *testing.T) {
	data := strings.Repeat("x", 24)
	at := func(location string, more ...[2]string) [][2]string {
		return append([][2]string{{"location", location}}, more...)
	}
	tests := []struct {
		name    string
		entries [][2]string
		prepare func(dir string) error // dir is the graph's folder
		words   string
	}{
		{"missing", at("none.data"), nil, "none.data"},
		{"above", at("../w.data"), nil, "leaves the model's folder"},
		{"above by a detour", at("junk/../../w.data"), nil, "leaves the model's folder"},
		{"a detour that comes back", at("junk/../w.data"), nil, "leaves the model's folder"},
		{"absolute", at("/etc/passwd"), nil, "absolute"},
		{"a drive", at(`C:w.data`), nil, "absolute"},
		{"backslashes", at(`..\w.data`), nil, "no file name should"},
		{"NUL", at("w\x00.data"), nil, "no file name should"},
		{"a new line", at("w\n.data"), nil, "no file name should"},
		{"the folder itself", at("."), nil, "a folder"},
		{"a name of slashes", at("w.data/"), nil, "names no file"},
		{"long", at(strings.Repeat("w", 5000)), nil, "too long"},
		{"a memory address", at("*/_ORT_MEM_ADDR_/*"), nil, "no such file"},
		{"link out", at("link"), func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "link")) }, "leads out of the model's folder"},
		{"dangling link", at("link"), func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "link")) }, "a link to nowhere"},
		{"link to itself", at("link"), func(dir string) error { return os.Symlink("link", filepath.Join(dir, "link")) }, "link"},
		{"folder that is a link out", at("sub/passwd"), func(dir string) error { return os.Symlink("/etc", filepath.Join(dir, "sub")) }, "leads out of the model's folder"},
		{"second hard link", at("hard"), func(dir string) error {
			return os.Link(filepath.Join(dir, "w.data"), filepath.Join(dir, "hard"))
		}, "2 hard links"},
		{"pipe", at("pipe"), func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644) }, "a pipe"},
		{"folder", at("sub"), func(dir string) error { return os.Mkdir(filepath.Join(dir, "sub"), 0o755) }, "a folder"},
		{"device", at("null"), func(dir string) error { return os.Symlink("/dev/null", filepath.Join(dir, "null")) }, "leads out"},
		{"short", at("short"), func(dir string) error { return os.WriteFile(filepath.Join(dir, "short"), []byte("12345678"), 0o644) }, "it has 8 bytes"},
		{"empty", at("short"), func(dir string) error { return os.WriteFile(filepath.Join(dir, "short"), nil, 0o644) }, "is empty"},
		{"pointer", at("short"), func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "short"), []byte("version https://git-lfs"), 0o644)
		}, "Git LFS pointer"},
		{"negative offset", at("w.data", [2]string{"offset", "-1"}), nil, `offset "-1"`},
		{"huge offset", at("w.data", [2]string{"offset", "1099511627776"}), nil, "it has 24 bytes"},
		{"largest offset", at("w.data", [2]string{"offset", "9223372036854775807"}), nil, "it has 24 bytes"},
		{"one byte too far", at("w.data", [2]string{"offset", "1"}), nil, "at 1 to 25"},
		{"another length", at("w.data", [2]string{"length", "23"}), nil, "has 23 bytes of external data"},
		{"right", at("w.data", [2]string{"offset", "0"}, [2]string{"length", "24"}), nil, ""},
		{"link inside", at("link"), func(dir string) error { return os.Symlink("w.data", filepath.Join(dir, "link")) }, ""},
		{"below", at("sub/w"), func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.WriteFile(filepath.Join(dir, "sub", "w"), []byte(data), 0o644))
		}, ""},
	}
	for _, test := range tests {
		dir := folder(t, with(layoutA(), "onnx/model.onnx", encode(external(test.entries...)), "onnx/w.data", data, "w.data", data))
		if test.prepare != nil {
			must(t, test.prepare(filepath.Join(dir, "onnx")))
		}
		start := time.Now()
		f, err := Find(nil, dir, FindOptions{})
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: took %v", test.name, d)
		}
		if good := test.name == "right" || test.name == "link inside" || test.name == "below"; good {
			if err != nil || len(f.Data) != 1 || f.Data[0] != path.Join("onnx", test.entries[0][1]) || f.Bytes <= 24 {
				t.Errorf("%s: got %v of %d bytes, %v", test.name, f.Data, f.Bytes, err)
			}
			continue
		}
		oneLine(t, test.name, err, test.words)
		if !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v is no ErrFile", test.name, err)
		}
	}
}

// A sparse tensor, a constant and a branch reach out of the file like any other tensor.
func TestExternalDataOfNodes(t *testing.T) {
	outside := onnxtest.Tensor{Name: "w", Type: onnx.Float32, Dims: []int64{6}, External: [][2]string{{"location", "../w.data"}}}
	for name, v := range map[string]any{"value": outside, "then_branch": onnxtest.Graph{Tensors: []onnxtest.Tensor{outside}}} {
		graph := encode(func(g *onnxtest.Graph) {
			g.Nodes = append(g.Nodes, onnxtest.Node{Op: "X", Attributes: map[string]any{name: v}})
		})
		_, err := Find(nil, folder(t, with(layoutA(), "onnx/model.onnx", graph)), FindOptions{})
		oneLine(t, name, err, "leaves the model's folder")
	}
}

// M-03: the cache of the Hub holds links into its blobs, and these may be hard links as well.
func TestHubCache(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "models--owner--name")
	snapshot := filepath.Join(repo, "snapshots", strings.Repeat("ab", 20))
	files := with(layoutA(), "onnx/model_q4.onnx", encode(external([2]string{"location", "model_q4.onnx_data"})),
		"onnx/model_q4.onnx_data", strings.Repeat("x", 24))
	for name, text := range files {
		blob := filepath.Join(repo, "blobs", strings.ReplaceAll(name, "/", "-"))
		put(t, filepath.Dir(blob), map[string]string{filepath.Base(blob): text})
		link := filepath.Join(snapshot, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(link), 0o755))
		target, err := filepath.Rel(filepath.Dir(link), blob)
		must(t, err)
		must(t, os.Symlink(target, link))
	}
	must(t, os.Link(filepath.Join(repo, "blobs", "onnx-model_q4.onnx_data"), filepath.Join(repo, "kept-elsewhere")))
	elsewhere := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(snapshot, elsewhere))
	for _, dir := range []string{snapshot, elsewhere, filepath.Join("/proc/self/root", snapshot)} {
		if _, err := os.Stat(dir); err != nil {
			continue // no /proc here
		}
		s, err := load(dir)
		if err != nil || s.Graph != "onnx/model_q4.onnx" || len(s.Data) != 1 {
			t.Errorf("%s: %+v, %v", dir, s, err)
			continue
		}
		if dir != elsewhere && s.Name != "owner/name" {
			t.Errorf("%s: name %q, want owner/name", dir, s.Name)
		}
	}
	store := filepath.Join(filepath.Dir(repo), "blobs", "ab", "content") // shared by several repositories
	blob := filepath.Join(repo, "blobs", "onnx-model_q4.onnx_data")
	put(t, filepath.Dir(store), map[string]string{"content": strings.Repeat("x", 24)})
	must(t, os.Remove(blob))
	must(t, os.Symlink(store, blob))
	if _, err := load(snapshot); err != nil {
		t.Errorf("a shared content: %v", err)
	}
	secret := filepath.Join(repo, "secret")
	put(t, repo, map[string]string{"secret": strings.Repeat("x", 24)})
	data := filepath.Join(snapshot, "onnx", "model_q4.onnx_data")
	must(t, os.Remove(data))
	must(t, os.Symlink(secret, data))
	_, err := load(snapshot)
	oneLine(t, "a link beside the blobs", err, "leads out of the model's folder")
}

func FuzzExternalData(f *testing.F) {
	for _, seed := range []string{"w.data", "../w.data", "/etc/passwd", "a/../../b", "sub/w", "link", `..\x`, "./w.data", "sub//w", "onnx/../w.data"} {
		f.Add(seed, "0", "24")
	}
	f.Add("w.data", "-1", "99999999999999999999")
	root := f.TempDir()
	outside := f.TempDir()
	put(f, outside, map[string]string{"w.data": strings.Repeat("o", 4096)})
	put(f, root, map[string]string{"w.data": strings.Repeat("o", 4096), "model/onnx/w.data": strings.Repeat("i", 64), "model/onnx/sub/w": strings.Repeat("i", 64)})
	dir := filepath.Join(root, "model")
	must(f, os.Symlink(filepath.Join(outside, "w.data"), filepath.Join(dir, "onnx", "link")))
	must(f, os.Symlink(outside, filepath.Join(dir, "onnx", "out")))
	real, err := filepath.EvalSymlinks(dir)
	must(f, err)
	f.Fuzz(func(t *testing.T, location, offset, length string) {
		b := onnxtest.Encode(onnxtest.Graph{Tensors: []onnxtest.Tensor{{Name: "w", Type: onnx.Float32, Dims: []int64{6},
			External: [][2]string{{"location", location}, {"offset", offset}, {"length", length}}}}})
		m, err := onnx.Read(strings.NewReader(string(b)), int64(len(b)))
		if err != nil {
			return
		}
		files := Files{FS: os.DirFS(dir), Dir: dir, Graph: "onnx/model.onnx", graph: m}
		if err := files.findData(); err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q is not one line", err)
			}
			return
		}
		for _, name := range files.Data {
			target, err := filepath.EvalSymlinks(files.Path(name))
			if err != nil || !strings.HasPrefix(target, real+string(filepath.Separator)) {
				t.Errorf("location %q was accepted, and leads to %q, %v", location, target, err)
			}
		}
	})
}
