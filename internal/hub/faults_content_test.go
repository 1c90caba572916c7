package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

func TestWrongHash_D14(t *testing.T) {
	spoil := func(out http.ResponseWriter, r *http.Request, body []byte) {
		wrong := slices.Clone(body)
		wrong[77]++
		_, _ = out.Write(wrong)
	}
	withLength := func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Length", fmt.Sprint(len(body)))
		spoil(out, r, body)
	}
	w := newWorld(t)
	w.onWeights(1, withLength)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	w = newWorld(t)
	w.onWeights(0, withLength)
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeHash, "onnx/model_q4.onnx_data", "sha256", hubtest.SHA256(w.files["onnx/model_q4.onnx_data"]))
	if n := len(w.weightRequests()); n != 2 {
		t.Errorf("%d requests, want one clean one more", n)
	}
	if left, _ := filepath.Glob(w.env.repo(testRepo).blob(hubtest.SHA256(w.files["onnx/model_q4.onnx_data"])) + "*"); len(left) != 0 {
		t.Errorf("wrong bytes are left: %v", left)
	}
	// What an earlier download left may be wrong as well: then all of it is fetched again.
	w = newWorld(t)
	path := w.leave(100_000, "")
	if err := os.WriteFile(path, make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
}

func TestETagChanged_D15(t *testing.T) {
	sum := `"` + hubtest.SHA256(modelFiles()["onnx/model_q4.onnx_data"]) + `"`
	tests := []struct {
		name, etag string
		ranges     []string // of the requests
	}{
		{"the same", sum, []string{"bytes=100000-"}},
		{"another", `"0123"`, []string{"bytes=100000-"}}, // If-Range gives the whole
		{"weak", `W/"0123"`, []string{"bytes=100000-"}},
		{"unknown", "", []string{"bytes=100000-"}},
	}
	for _, test := range tests {
		w := newWorld(t)
		w.leave(100_000, test.etag)
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		w.whole(q4Files...)
		requests := w.weightRequests()
		ifRange := ""
		if isStrong(test.etag) {
			ifRange = test.etag
		}
		if len(requests) != 1 || requests[0].Header.Get("Range") != test.ranges[0] || requests[0].Header.Get("If-Range") != ifRange {
			t.Errorf("%s: requests %v", test.name, requests)
		}
	}
	// A server that ignores If-Range but shows that the file is another one.
	w := newWorld(t)
	w.leave(100_000, `"0123"`)
	w.onWeights(1, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Etag", `"4567"`)
		out.Header().Set("Content-Range", "bytes 100000-199999/200000")
		out.Header().Set("Content-Length", "100000")
		out.WriteHeader(http.StatusPartialContent)
		_, _ = out.Write(body[100_000:])
	})
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := w.weightRequests(); len(r) != 2 || r[1].Header.Get("Range") != "" {
		t.Errorf("requests %v, want a second one from the beginning", r)
	}
	w.whole(q4Files...)
}

func TestSmallFilesAreVerified_D16(t *testing.T) {
	w := newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/tokenizer.json") {
			_, _ = out.Write([]byte(`{"version": "6.6"}`))
			return true
		}
		return false
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeHash, "tokenizer.json", "git sha1")
}

// The names of blobs come from the list alone, and from there only if they are hex.
func TestETagIsNoName_D17(t *testing.T) {
	for _, etag := range []string{`W/"abc"`, "", "garbage", `"../../../../evil"`, `"a/b"`, `"` + strings.Repeat("f", 64) + `"`} {
		w := newWorld(t)
		w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/tokenizer.json") {
				out.Header()["Etag"] = []string{etag}
				out.Header()["X-Linked-Etag"] = []string{etag}
				_, _ = out.Write(w.files["tokenizer.json"])
				return true
			}
			return false
		})
		if _, err := w.pull(PlanOptions{}); err != nil {
			t.Errorf("%q: %v", etag, err)
		}
		w.whole(q4Files...)
	}
	for _, oid := range []string{"../../evil", "", "ABCDEF", strings.Repeat("g", 64), strings.Repeat("a", 63), strings.Repeat("A", 64), "a/b"} {
		w := newWorld(t)
		w.list([]map[string]any{{"type": "file", "path": "onnx/model.onnx", "size": 1, "oid": strings.Repeat("a", 40), "lfs": map[string]any{"oid": oid, "size": 1}}})
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeTree, "the hash of onnx/model.onnx")
	}
}

// list orders another list of files.
func (w *world) list(entries any) {
	w.Helper()
	text, isText := entries.(string)
	if !isText {
		b, err := json.Marshal(entries)
		if err != nil {
			w.Fatal(err)
		}
		text = string(b)
	}
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/tree/") {
			_, _ = out.Write([]byte(text))
			return true
		}
		return false
	})
}

func TestPointerInsteadOfFile_D41(t *testing.T) {
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 200000\n"
	w := newWorld(t)
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Length", fmt.Sprint(len(pointer)))
		_, _ = out.Write([]byte(pointer))
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeSize, "pointer of git LFS")
}

func TestWebPageInsteadOfFile_D42(t *testing.T) {
	page := "<!DOCTYPE html>\n<html><title>Sign in to the airport</title></html>"
	for _, path := range []string{"/api/", "/tree/", "/config.json", "/blobs/"} {
		w := newWorld(t)
		w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			out.Header().Set("Content-Type", "text/html")
			_, _ = out.Write([]byte(page))
			return true
		})
		_, err := w.pull(PlanOptions{})
		var code Code = CodeSize
		if path == "/api/" || path == "/tree/" {
			code = CodeTree
		}
		w.wantError(err, code, "a web page")
	}
	// As long as the file: the hash tells.
	w := newWorld(t)
	w.onWeights(0, func(out http.ResponseWriter, r *http.Request, body []byte) {
		out.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = out.Write(append([]byte(page), make([]byte, len(body)-len(page))...))
	})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeHash, "a web page")
}

func TestXetOnly_D43(t *testing.T) {
	w := newWorld(t)
	entry := func(path string, size int64, xet bool) map[string]any {
		e := map[string]any{"type": "file", "path": path, "size": size, "oid": strings.Repeat("a", 40), "lfs": map[string]any{"oid": strings.Repeat("a", 64), "size": size}}
		if xet {
			e["xetHash"] = strings.Repeat("b", 64)
		}
		return e
	}
	small := map[string]any{"type": "file", "path": "config.json", "size": 23, "oid": hubtest.GitSHA1(w.files["config.json"])}
	w.list([]map[string]any{small, entry("onnx/model.onnx", 60e9, true)})
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeXet, "60 GB", "hf download")
	w.list([]map[string]any{small, entry("onnx/model.onnx", 40e9, true)})
	if p, err := w.client.Plan(t.Context(), testRepo, PlanOptions{}); err != nil || p.Total() < 40e9 {
		t.Errorf("40 GB: %v", err)
	}
}

// The commit is asked for once; all files come from it, although main moves on meanwhile.
func TestRevisionMoves_D44(t *testing.T) {
	w := newWorld(t)
	other := modelFiles()
	other["config.json"] = []byte(`{"model_type": "other"}`)
	p, err := w.client.Plan(t.Context(), testRepo, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	moved := w.hub.Add(testRepo, "main", other)
	for _, err := range w.client.Pull(t.Context(), p) {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.whole(q4Files...)
	for _, r := range w.hub.Requests() {
		if strings.Contains(r.Path, "/resolve/") && !strings.Contains(r.Path, w.commit) || strings.Contains(r.Path, moved) {
			t.Errorf("%s is not pinned", r.Path)
		}
	}
	// The next pull follows, and both revisions are there.
	if p, err := w.pull(PlanOptions{}); err != nil || p.Commit != moved {
		t.Errorf("got %v, %v", p, err)
	}
	w.whole(q4Files...)
}

// What Verify finds, Pull mends.
func TestDamagedCache_D45(t *testing.T) {
	const name = "onnx/model_q4.onnx_data"
	damage := map[string]struct {
		do    func(blob, link string) error
		fault string
	}{
		"cut off":              {func(blob, link string) error { return os.Truncate(blob, 1000) }, "damaged"},
		"of other bytes":       {func(blob, link string) error { return os.WriteFile(blob, make([]byte, 200_000), 0o644) }, "damaged"},
		"empty":                {func(blob, link string) error { return os.Truncate(blob, 0) }, "damaged"},
		"gone":                 {func(blob, link string) error { return os.Remove(blob) }, "missing"},
		"a folder":             {func(blob, link string) error { _ = os.Remove(blob); return os.MkdirAll(blob+"/x", 0o755) }, "something else"},
		"a link to itself":     {func(blob, link string) error { _ = os.Remove(blob); return os.Symlink(blob, blob) }, "too many levels"},
		"linked to elsewhere":  {func(blob, link string) error { _ = os.Remove(link); return os.Symlink("../nowhere", link) }, "missing"},
		"a folder in its link": {func(blob, link string) error { _ = os.Remove(link); return os.MkdirAll(link+"/y", 0o755) }, ""},
		"without its link":     {func(blob, link string) error { return os.Remove(link) }, ""},
	}
	for what, test := range damage {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.pull(PlanOptions{}); err != nil {
				t.Fatal(err)
			}
			r := w.env.repo(testRepo)
			if err := test.do(r.blob(hubtest.SHA256(w.files[name])), r.link(w.commit, name)); err != nil {
				t.Fatal(err)
			}
			faults := ""
			for c, err := range Verify(t.Context(), testRepo, w.env) {
				if err != nil {
					t.Fatal(err)
				}
				if c.Fault != "" {
					faults += c.Path + ": " + c.Fault + "\n"
				}
			}
			if test.fault != "" && (!strings.Contains(faults, test.fault) || !strings.HasPrefix(faults, name)) {
				t.Errorf("Verify found %q, want %s", faults, test.fault)
			}
			if _, err := w.pull(PlanOptions{}); err != nil {
				t.Fatal(err)
			}
			w.whole(q4Files...)
			for c, err := range Verify(t.Context(), testRepo, w.env) {
				if err != nil || c.Fault != "" {
					t.Errorf("after mending: %+v, %v", c, err)
				}
			}
			if n := w.blobsAreRight(); n != 0 {
				list, _ := filepath.Glob(r.blobs() + "/*.*")
				t.Errorf("%d files are left over: %v", n, list)
			}
		})
	}
}
