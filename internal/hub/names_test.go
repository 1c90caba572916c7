package hub

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/internal/hub/hubtest"
)

func TestNames_D38(t *testing.T) {
	bad := []string{
		"", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/../x", "a/..", "./a", "a/.", "a//b", "a/", "//a", `..\x`, `a\..\..\x`, `\x`, `C:\x`, "C:/x", "C:x", "a:b",
		"a\x00b", "a\nb", "a\r", "a\x1b[31mb", "a\x7f", "a\u202eb", "a\u200bb", "a\ufeff", "\xff\xfe", "caf\xe9", strings.Repeat("n", 300), strings.Repeat("a/", 600) + "b",
		"CON", "con.json", "onnx/NUL", "aux.onnx", "LPT1.txt", "COM9", "trailing.", "trailing ", " leading", "a/ b/c", "a?b", "a*b", `a"b`, "a<b", "a|b",
	}
	for _, name := range bad {
		if isSafe(name) {
			t.Errorf("%q is taken for safe", name)
		}
	}
	for _, name := range []string{"a", "config.json", "onnx/model.onnx_data", "cpu_and_mobile/cpu-int4-rtn-block-32/model.onnx.data", ".gitattributes", "日本語.json", "console.json", "a..b", "a b"} {
		if !isSafe(name) {
			t.Errorf("%q is refused", name)
		}
	}
	// Such names in a list are passed over; nothing lands outside of the cache.
	w := newWorld(t)
	entries := []map[string]any{}
	for _, name := range bad {
		entries = append(entries, map[string]any{"type": "file", "path": name, "size": 3, "oid": hubtest.GitSHA1([]byte("bad"))})
	}
	for _, name := range q4Files {
		e := map[string]any{"type": "file", "path": name, "size": len(w.files[name]), "oid": hubtest.GitSHA1(w.files[name])}
		if hubtest.IsLarge(name) {
			e["lfs"] = map[string]any{"oid": hubtest.SHA256(w.files[name]), "size": len(w.files[name])}
		}
		entries = append(entries, e)
	}
	w.list(entries)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	w.whole(q4Files...)
	for path, d := range files(filepath.Dir(w.env.Cache)) {
		if info, err := d.Info(); err == nil && info.Size() == 3 {
			t.Errorf("%s was written", path)
		}
	}
	// Two that are one on some file systems.
	w.list(append(entries, map[string]any{"type": "file", "path": "Config.json", "size": 3, "oid": hubtest.GitSHA1([]byte("bad"))}))
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Errorf("a twin that is not needed: %v", err)
	}
}

func TestCaseTwins_D38(t *testing.T) {
	p := &Plan{Repo: testRepo, Files: []File{{Path: "a/config.json"}, {Path: "a/Config.json"}}}
	if err := checkFile(p, p.Files[0]); err == nil || !strings.Contains(err.Error(), "letter case") {
		t.Errorf("got %v", err)
	}
}

func TestList_D39(t *testing.T) {
	oid := strings.Repeat("a", 40)
	file := func(path string) string {
		return fmt.Sprintf(`{"type":"file","path":%q,"size":1,"oid":%q}`, path, oid)
	}
	many := func(n int) string {
		var b strings.Builder
		b.WriteByte('[')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(file(fmt.Sprint(i)))
		}
		return b.String() + "]"
	}
	tests := []struct{ name, list, words string }{
		{"too many", many(20_001), "more than 20000 files"},
		{"twice", "[" + file("a") + "," + file("a") + "]", "a is in the list twice"},
		{"negative size", `[{"type":"file","path":"a","size":-1,"oid":"` + oid + `"}]`, "the size of a is -1"},
		{"size out of reason", `[{"type":"file","path":"a","size":9223372036854775807,"oid":"` + oid + `"}]`, "the size of a is 9223372036854775807"},
		{"size as text", `[{"type":"file","path":"a","size":"1","oid":"` + oid + `"}]`, "no JSON of the form expected"},
		{"huge size", `[{"type":"file","path":"a","size":1e400,"oid":"` + oid + `"}]`, "no JSON of the form expected"},
		{"deep", strings.Repeat("[", 100_000), "no JSON of the form expected"},
		{"deep within", `[{"type":"file","x":` + strings.Repeat("[", 100_000), "no JSON of the form expected"},
		{"cut off", `[` + file("a"), "no JSON of the form expected"},
		{"an object", `{"error":"x"}`, "no list"},
		{"a number", `7`, "no list"},
		{"nothing", ``, "no JSON of the form expected"},
		{"no model", "[" + file("a.txt") + "]", "no .onnx file"},
		{"empty", "[]", "the folder is empty"},
		{"for another program", "[" + file("model.safetensors") + "]", "a model for another program"},
	}
	for _, test := range tests {
		w := newWorld(t)
		w.list(test.list)
		_, err := w.pull(PlanOptions{})
		code := CodeTree
		if strings.Contains(test.words, ".onnx") || strings.Contains(test.words, "folder") || strings.Contains(test.words, "program") {
			code = CodeEntry
		}
		w.wantError(err, code, test.words)
	}
	// Configurations are read to choose among variants, as long as there are not too many of them.
	w := newWorld(t)
	var configs []any
	for i := range 100 {
		configs = append(configs, map[string]any{"type": "file", "path": fmt.Sprintf("v%d/genai_config.json", i), "size": genaiBytesMax, "oid": oid})
	}
	w.list(configs)
	_, err := w.pull(PlanOptions{})
	w.wantError(err, CodeTree, "100 files genai_config.json, more than 64 MiB in all")
	if n := len(w.hub.Requests()); n > 2 {
		t.Errorf("%d requests, want those for the commit and the list", n)
	}
	// A body without end is read to the limit, and no further.
	w = newWorld(t)
	w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/tree/") {
			return false
		}
		_, _ = io.WriteString(out, "[")
		spaces := []byte(strings.Repeat(" ", 1<<20))
		for range 200 {
			if _, err := out.Write(spaces); err != nil {
				return true
			}
		}
		return true
	})
	_, err = w.pull(PlanOptions{})
	w.wantError(err, CodeTree, "more than 64 MiB")
}

func TestPagesWithoutEnd_D40(t *testing.T) {
	for name, next := range map[string]func(page int) string{
		"to itself":     func(int) string { return "?recursive=true" },
		"round a ring":  func(page int) string { return fmt.Sprintf("?recursive=true&page=%d", page%3) },
		"always onward": func(page int) string { return fmt.Sprintf("?recursive=true&page=%d", page) },
	} {
		w := newWorld(t)
		pages := 0
		w.hub.Fault(func(out http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/tree/") {
				return false
			}
			pages++
			answer(200, "Link", "<"+w.hub.URL+r.URL.Path+next(pages)+`>; rel="next"`)(out)
			_, _ = out.Write([]byte("[]"))
			return true
		})
		_, err := w.pull(PlanOptions{})
		w.wantError(err, CodeTree, "pages")
		if pages > listPagesMax {
			t.Errorf("%s: %d pages were read", name, pages)
		}
	}
}

// A download of several large files takes little memory, whatever their size.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	const size = 96 << 20
	for _, name := range []string{"onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1"} {
		w.files[name] = make([]byte, size)
		w.files[name][0] = byte(len(name))
	}
	w.commit = w.hub.Add(testRepo, "main", w.files)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := w.pull(PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 { // the servers' part is in it
		t.Errorf("%d MB were allocated for a download of %d MB", used>>20, 2*size>>20)
	}
	if _, err := os.Stat(w.env.repo(testRepo).link(w.commit, "onnx/model_q4.onnx_data_1")); err != nil {
		t.Error(err)
	}
}
