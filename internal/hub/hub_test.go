package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pinned = "0123456789abcdef0123456789abcdef01234567"

// cache makes a Hub cache with these files (folders end in a slash).
func cache(t *testing.T, files map[string]string) Env {
	t.Helper()
	e := Env{Home: t.TempDir(), Cache: t.TempDir()}
	for name, text := range files {
		path := filepath.Join(e.Cache, filepath.FromSlash(name))
		dir := path
		if !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(path)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir != path && !strings.HasSuffix(name, "/") {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return e
}

func TestResolve(t *testing.T) {
	qwen := "models--onnx-community--Qwen2.5-0.5B-Instruct/"
	deep := "models--onnxruntime--DeepSeek-R1-Distill-ONNX/"
	e := cache(t, map[string]string{
		qwen + "refs/main":                               pinned + "\n",
		qwen + "refs/pr/1":                               pinned,
		qwen + "refs/bad":                                "../../../etc",
		qwen + "snapshots/" + pinned + "/":               "",
		deep + "refs/main":                               pinned,
		deep + "snapshots/" + pinned + "/x-qwen-1.5B/a/": "",
		deep + "snapshots/" + pinned + "/x-qwen-7B/a/":   "",
		"models--o--gone/refs/main":                      pinned,
	})
	snapshot := qwen + "snapshots/" + pinned
	folder := t.TempDir()
	file := filepath.Join(folder, "model.onnx")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string // want: below the cache, or absolute
		fault      string // what the error says
	}{
		{"qwen-0.5b", snapshot, ""},
		{"Qwen-0.5B", snapshot, ""},
		{"onnx-community/Qwen2.5-0.5B-Instruct", snapshot, ""},
		{"onnx-community/Qwen2.5-0.5B-Instruct@main", snapshot, ""},
		{"onnx-community/Qwen2.5-0.5B-Instruct@pr/1", snapshot, ""},
		{"onnx-community/Qwen2.5-0.5B-Instruct@" + pinned, snapshot, ""},
		{"deepseek-7b", deep + "snapshots/" + pinned + "/x-qwen-7B", ""},
		{folder, folder, ""},
		{"tiny", "", ""},
		{"deepseek-14b", "", "shammah-engine pull deepseek-14b"},
		{"qwen-1.5b", "", "fetch it with: shammah-engine pull qwen-1.5b"},
		{"phi-4", "", "microsoft/phi-4-onnx is not in the cache"},
		{"o/gone", "", "no files of o/gone at 0123456789ab"},
		{"o/never", "", "is not in the cache"},
		{"onnx-community/Qwen2.5-0.5B-Instruct@v9", "", "no revision v9"},
		{"onnx-community/Qwen2.5-0.5B-Instruct@bad", "", "names no commit"},
		{"onnx-community/Qwen2.5-0.5B-Instruct@../../x", "", "no branch, tag or commit"},
		{"quen-0.5b", "", "did you mean qwen-0.5b?"},
		{"lama-1b", "", "did you mean llama-1b?"},
		{"smollm2-135", "", "did you mean smollm2-135m?"},
		{"something-else-altogether", "", "an alias, owner/name or a folder was expected"},
		{"", "", "an alias, owner/name or a folder was expected"},
		{"../..--/..", "", "does not exist"},
		{"./nothing-here", "", "the folder does not exist"},
		{file, "", "it is a file"},
		{"a/b/c", "", "was expected"},
		{"o/..", "", "was expected"},
	}
	for _, test := range tests {
		got, err := Resolve(test.name, e)
		want := test.want
		if want != "" && !filepath.IsAbs(want) {
			want = filepath.Join(e.Cache, filepath.FromSlash(want))
		}
		if test.fault == "" {
			if err != nil || got != want {
				t.Errorf("Resolve(%q) = %q, %v; want %q", test.name, got, err, want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Resolve(%q) = %q, %v; want an error with %q", test.name, got, err, test.fault)
		}
		if err != nil && !errors.Is(err, ErrNotFound) && !strings.Contains(test.fault, "branch") {
			t.Errorf("Resolve(%q): %v is no ErrNotFound", test.name, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"HOME": "/h"}, "/h/.cache/huggingface/hub"},
		{map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"},
		{map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"}, "/h/hf/hub"},
		{map[string]string{"HOME": "/h", "HF_HOME": "/hf", "HF_HUB_CACHE": "/cache"}, "/cache"},
	}
	for _, test := range tests {
		if got := Environment(func(k string) string { return test.vars[k] }).Cache; got != test.want {
			t.Errorf("Environment(%v).Cache = %q, want %q", test.vars, got, test.want)
		}
	}
	nothing := func(string) string { return "" }
	_, token := tokenFile(nothing)
	for name, got := range map[string]string{"cache": Environment(nothing).Cache, "token": token} {
		if !filepath.IsAbs(got) {
			t.Errorf("without HOME the %s is %q, below whatever folder is the current one", name, got)
		}
	}
}

// Each alias is its own nearest name, and none is spelled like a path or a repository.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Catalogue() {
		if seen[e.Alias] || e.Alias != strings.ToLower(e.Alias) || strings.ContainsAny(e.Alias, "/@ ") || Nearest(e.Alias) != e.Alias {
			t.Errorf("alias %q: twice, not in lower case, or nearest to %q", e.Alias, Nearest(e.Alias))
		}
		seen[e.Alias] = true
		if e.Alias != Tiny && !repoName.MatchString(e.Repo) {
			t.Errorf("alias %q: repository %q", e.Alias, e.Repo)
		}
	}
}
