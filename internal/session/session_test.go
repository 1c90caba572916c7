package session

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shammah/shammah-engine/engine/chat"
)

func talk() Talk {
	t := Talk{Model: "tiny", Variant: "q4"}
	t.System = "Be <brief>."
	t.Ask("a\n}\n")
	t.Answer("👍🏽")
	return t
}

// writes is a cache of so many bytes, and then an error.
func writes(n int, err error) func(io.Writer) error {
	return func(w io.Writer) error {
		if _, err := w.Write(bytes.Repeat([]byte("\n{"), n/2)); err != nil {
			return err
		}
		return err
	}
}

// rest is what follows what was said.
func rest(t *testing.T, path string) string {
	t.Helper()
	r, err := Cache(path)
	if errors.Is(err, io.EOF) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteAndRead(t *testing.T) {
	broken := errors.New("no space left")
	for _, c := range []struct {
		name  string
		cache func(io.Writer) error
		want  int // bytes that follow
		err   error
	}{
		{"a.session", nil, 0, nil},
		{"b.session", writes(0, nil), 0, nil},
		{"c.session", writes(100, nil), 100, nil},
		{"d.session", writes(3<<20, nil), 3 << 20, nil},
		{"e.session", writes(100, broken), 0, broken},
		{"f.session", writes(3<<20, broken), 0, broken},
		{"g.JSON", writes(100, broken), 0, nil},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, []byte("what was there"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := Write(path, talk(), c.cache)
		if !errors.Is(err, c.err) || c.err != nil && !errors.Is(err, ErrCache) || err != nil && c.err == nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		got, err := Read(path)
		want := talk()
		if err != nil || got.Version != Version || got.Model != want.Model || got.Variant != want.Variant || got.System != want.System || !slices.Equal(got.Turns, want.Turns) {
			t.Errorf("%s: read %+v, %v; want %+v", c.name, got, err, want)
		}
		if got := rest(t, path); got != strings.Repeat("\n{", c.want/2) {
			t.Errorf("%s: %d bytes follow, want %d", c.name, len(got), c.want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the file is %v, %v; want mode 0600", c.name, info, err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("%s: %d files are left, want one", c.name, len(files))
		}
	}
}

// What cannot be written leaves what was there.
func TestWriteFails(t *testing.T) {
	dir, pipe := t.TempDir(), filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "no", "folder"), pipe} {
		if err := Write(path, talk(), nil); err == nil || errors.Is(err, ErrCache) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%d files are left, want none", len(files))
	}
}

// A link stays one, and an empty conversation can be read again.
func TestLinksAndNothing(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, Talk{}, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info, err)
	}
	if got, err := Read(file); err != nil || len(got.Turns) != 0 {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestBegin(t *testing.T) {
	dir := t.TempDir()
	empty, kept, other, pipe := filepath.Join(dir, "empty"), filepath.Join(dir, "kept"), filepath.Join(dir, "other"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.WriteFile(other, []byte("My thesis"), 0o600), Write(kept, talk(), nil), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string // of the error
		turns      int
	}{
		{filepath.Join(dir, "new"), "", 0},
		{empty, "", 0},
		{kept, "", 2},
		{other, "other: not a conversation", 0},
		{dir, "expected a file, found a folder", 0},
		{pipe, "expected a file, found a device or a pipe", 0},
		{filepath.Join(dir, "no", "folder"), "no such file", 0},
		{filepath.Join(kept, "below"), "not a directory", 0},
	} {
		_, got, err := Begin(c.path)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || len(got.Turns) != c.turns {
			t.Errorf("%s: %d messages, %v; want %d and %q", c.path, len(got.Turns), err, c.turns, c.want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 4 {
		t.Errorf("%d files are there, want four", len(files))
	}
	if data, _ := os.ReadFile(other); string(data) != "My thesis" {
		t.Errorf("what was no session became %q", data)
	}
}

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for name, c := range map[string]struct{ data, want string }{
		"newer":    {`{"version":2,"turns":[]}`, "it is of version 2, which a newer program wrote; expected 1"},
		"cut":      {`{"version":1,"turns":[{"role":"user","con`, "not a conversation: unexpected EOF"},
		"two open": {`{"turns":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`, `message 2 is of "user", expected "assistant"`},
		"too long": {strings.Repeat(" ", textBytesMax+1), "more than 64 MiB"},
		"binary":   {"\x00\x01", "not a conversation"},
	} {
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
	}
}

// Whatever a file holds is refused, or is a conversation that can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"turns":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}` + "\n\x00"))
	f.Add([]byte(`{"turns":[]}`))
	f.Add([]byte(`{"turns":null,"Turns":[]} x`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, end, err := parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		if end < 0 || end > int64(len(data)) || len(got.Turns)%2 != 0 {
			t.Fatalf("%d messages, and what follows begins at %d of %d", len(got.Turns), end, len(data))
		}
		for i, m := range got.Turns {
			if (m.Role == chat.User) != (i%2 == 0) {
				t.Fatalf("message %d is of %q", i, m.Role)
			}
		}
	})
}
