package ort_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

// build compiles a small shared library.
func build(t *testing.T, name, source string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler named cc")
	}
	dir := t.TempDir()
	file, lib := filepath.Join(dir, "source.c"), filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-o", lib, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return lib
}

// pretender is a library that says of itself what it likes.
func pretender(version string, table string) string {
	return fmt.Sprintf(`
static const void *api(unsigned n) { (void)n; return %s; }
static const char *version(void) { return "%s"; }
static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {api, version};
const void *OrtGetApiBase(void) { return &base; }
`, table, version)
}

// realLibrary is the staged file itself.
func realLibrary(t *testing.T) string {
	t.Helper()
	return ort.Search(ort.Options{Library: ortest.Library(t)})[0]
}

// cut copies the first bytes of the staged library.
func cut(t *testing.T, percent int64) string {
	t.Helper()
	in, err := os.Open(realLibrary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.CopyN(out, in, info.Size()*percent/100); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		path func(t *testing.T) string
		says string
	}{
		{"missing file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "libonnxruntime.so") }, "no such file"},
		{"missing folder", func(t *testing.T) string { return filepath.Join(t.TempDir(), "lib") }, "no such file"},
		{"empty folder", func(t *testing.T) string { return t.TempDir() }, "no such file"},
		{"empty file", func(t *testing.T) string { return written(t, "") }, "0 bytes are no shared library"},
		{"text", func(t *testing.T) string { return written(t, "<html>captive portal</html>") }, "not a shared library"},
		{"header only", func(t *testing.T) string { return written(t, "\x7fELF\x02\x01\x01") }, "cut short"},
		{"cut at 1 %", func(t *testing.T) string { return cut(t, 1) }, "cut short"},
		{"cut at 50 %", func(t *testing.T) string { return cut(t, 50) }, "cut short"},
		{"cut at 99 %", func(t *testing.T) string { return cut(t, 99) }, "cut short"},
		{"program", func(t *testing.T) string { return os.Args[0] }, ""},
		{"foreign", func(t *testing.T) string { return build(t, "libother.so", "int other(void) { return 1; }") }, "has no OrtGetApiBase"},
		{"too old", func(t *testing.T) string { return build(t, "libonnxruntime.so", pretender("1.20.1", `"a table"`)) }, "1.20.1 is too old, 1.28.1 or newer"},
		{"just too old", func(t *testing.T) string { return build(t, "libonnxruntime.so", pretender("1.28.0", `"a table"`)) }, "1.28.0 is too old"},
		{"no version", func(t *testing.T) string { return build(t, "libonnxruntime.so", pretender("", `"a table"`)) }, "too old"},
		{"no table", func(t *testing.T) string { return build(t, "libonnxruntime.so", pretender("1.40.0", "0")) }, "does not offer version 24"},
		{"NUL in name", func(*testing.T) string { return "a\x00b" }, "invalid argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.path(t)
			start := time.Now()
			env, err := ort.Open(ort.Options{Library: path})
			if err == nil {
				env.Close()
				t.Fatal("it opened")
			}
			text := err.Error()
			if !strings.Contains(text, test.says) || strings.Contains(text, "\n") || !strings.HasPrefix(text, "ort: open library: ") {
				t.Errorf("%q, want one line with %q", text, test.says)
			}
			if !strings.Contains(path, "\x00") && !strings.Contains(text, path) {
				t.Errorf("%q does not name %s", text, path)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestOpenSaysWhatWasOpened(t *testing.T) {
	env := open(t)
	if env.Library() != realLibrary(t) || !strings.Contains(env.Library(), "libonnxruntime") {
		t.Errorf("library %s", env.Library())
	}
	if v := ort.ParseVersion(env.Version()); len(v) != 3 || v[0] != 1 {
		t.Errorf("version %s", env.Version())
	}
	if os.Getenv("ORT_DISABLE_TELEMETRY") != "1" {
		t.Error("telemetry is not switched off")
	}
}

func TestSearch(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	t.Setenv(ort.LibraryVariable, "")
	paths := ort.Search(ort.Options{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(filepath.Dir(exe), "lib"), filepath.Join(filepath.Dir(filepath.Dir(exe)), "lib"), cache} {
		if !strings.Contains(strings.Join(paths, "\n"), dir) {
			t.Errorf("%q has nothing in %s", paths, dir)
		}
	}
	if env, err := ort.Open(ort.Options{}); err == nil {
		env.Close()
		t.Log("the system has a library of its own")
	} else {
		for _, path := range paths {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%q does not name %s", err, path)
			}
		}
		if !strings.Contains(err.Error(), ort.LibraryVariable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q, want one line that says what to do", err)
		}
	}
	t.Setenv(ort.LibraryVariable, filepath.Join(cache, "mine.so"))
	if got := ort.Search(ort.Options{}); len(got) != 1 || got[0] != filepath.Join(cache, "mine.so") {
		t.Errorf("with %s set: %q", ort.LibraryVariable, got)
	}
	bare := filepath.Join(cache, "libort") // a file is a file, whatever its name
	if err := os.WriteFile(bare, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(ort.LibraryVariable, bare)
	if got := ort.Search(ort.Options{}); len(got) != 1 || got[0] != bare {
		t.Errorf("with %s naming a file without an extension: %q", ort.LibraryVariable, got)
	}
	if env, err := ort.Open(ort.Options{}); err == nil || !strings.Contains(err.Error(), ort.LibraryVariable) {
		t.Errorf("got %v %v, want an error that says who named the file", env, err)
	}
}

func TestNewestIn(t *testing.T) {
	for _, test := range []struct {
		goos  string
		files string
		want  string
	}{
		{"linux", "", ""},
		{"linux", "libonnxruntime_providers_shared.so libother.so", ""},
		{"linux", "libonnxruntime.so.1.9.0 libonnxruntime.so.1.32.0 libonnxruntime.so.1", "libonnxruntime.so.1.32.0"},
		{"linux", "libonnxruntime.so.1.32.0 libonnxruntime.so", "libonnxruntime.so"},
		{"linux", "libonnxruntime.so.1.32.0.part", "libonnxruntime.so.1.32.0.part"},
		{"darwin", "libonnxruntime.1.31.1.dylib libonnxruntime.1.32.0.dylib libonnxruntime.so.1.40.0", "libonnxruntime.1.32.0.dylib"},
		{"darwin", "libonnxruntime.1.32.0.dylib libonnxruntime.dylib", "libonnxruntime.dylib"},
	} {
		dir := filepath.Join(t.TempDir(), "[a] *?") // a name, and no pattern
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(test.files) {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got := ort.NewestIn(dir, test.goos)
		if got != "" {
			got = filepath.Base(got)
		}
		if got != test.want {
			t.Errorf("%s, %q: %q, want %q", test.goos, test.files, got, test.want)
		}
	}
}
