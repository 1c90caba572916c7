package session

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/renameio/v2"
)

func said(words ...string) (t Talk) {
	for _, w := range words {
		t.Ask(w)
		t.Answer("yes")
	}
	return t
}

// questions are what the session at path holds.
func questions(t *testing.T, path string) string {
	t.Helper()
	talk, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i := 0; i < len(talk.Turns); i += 2 {
		list = append(list, talk.Turns[i].Content)
	}
	return strings.Join(list, " ")
}

// atTheSameTime changes a file and gives it the time that it had: clocks of file systems are coarse.
func atTheSameTime(path string, change func() error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(change(), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

// Of two that go on with one file, the second one to write leaves what the first has written, and goes on beside it.
func TestTwoOnOneSession(t *testing.T) {
	for name, c := range map[string]struct {
		before []byte
		other  func(path string) error // what somebody else does meanwhile
		first  string                  // what is in the file then, "-" nothing
	}{
		"both begin": {nil, func(p string) error { return Write(p, said("theirs"), nil) }, "theirs"},
		"both go on": {[]byte(`{"turns":[]}`), func(p string) error { return Write(p, said("theirs"), nil) }, "theirs"},
		"the same size": {[]byte(`{"turns":[]}`), func(p string) error {
			return atTheSameTime(p, func() error {
				return errors.Join(os.Rename(p, p+".old"), os.WriteFile(p, []byte(`{"turns":[]}`), 0o600))
			})
		}, ""},
		"an editor": {[]byte(`{"turns":[]}`), func(p string) error {
			return atTheSameTime(p, func() error { return os.WriteFile(p, []byte(`{"turns":[]} `), 0o600) })
		}, ""},
		"as long in place": {[]byte(`{"turns":[]}`), func(p string) error {
			later := time.Now().Add(time.Second)
			return errors.Join(os.WriteFile(p, []byte(`{"turns":[]}`), 0o600), os.Chtimes(p, later, later))
		}, ""},
		"it was removed":   {[]byte(`{"turns":[]}`), os.Remove, "-"},
		"nobody is there":  {[]byte(`{"turns":[]}`), func(string) error { return nil }, "-"},
		"an empty file":    {[]byte{}, func(string) error { return nil }, "-"},
		"nothing is there": {nil, func(string) error { return nil }, "-"},
	} {
		path := filepath.Join(t.TempDir(), "my notes.session")
		if c.before != nil {
			if err := os.WriteFile(path, c.before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file, _, err := Begin(path)
		if err == nil {
			err = c.other(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		beside := filepath.Join(filepath.Dir(path), "my notes-2.session")
		err = file.Write(said("ours"), writes(100, nil))
		again := file.Write(said("ours", "and more"), nil)
		if c.first == "-" {
			if err != nil || again != nil || file.Path() != path || questions(t, path) != "ours and more" {
				t.Errorf("%s: %v, %v; %s has %q", name, err, again, file.Path(), questions(t, path))
			}
			continue
		}
		want := fmt.Sprintf("session: write %s: somebody else has written it meanwhile: this conversation is kept in %s", path, beside)
		if !errors.Is(err, ErrElsewhere) || err.Error() != want || again != nil || file.Path() != beside {
			t.Errorf("%s: got %v, then %v; want %q, then nothing", name, err, again, want)
		}
		if got := questions(t, path); got != c.first {
			t.Errorf("%s: theirs is %q, want %q", name, got, c.first)
		}
		if got := questions(t, beside); got != "ours and more" {
			t.Errorf("%s: ours is %q", name, got)
		}
	}
}

// Nobody replaces a file between another's look at it and its replacing.
func TestReplacedOneByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes")
	var inside atomic.Int32
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			err := write(path, said("one"), nil, func(f *renameio.PendingFile) error {
				defer inside.Add(-1)
				if n := inside.Add(1); n > 1 {
					t.Errorf("%d replace at once", n)
				}
				time.Sleep(5 * time.Millisecond)
				return f.CloseAtomicallyReplace()
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
}

// However many write at once, each conversation is in one file, whole.
func TestManyOnOneSession(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notes")
	const many = 12
	var files [many]*File
	for i := range files {
		var err error
		if files[i], _, err = Begin(path); err != nil {
			t.Fatal(err)
		}
	}
	var writers sync.WaitGroup
	for i, f := range files {
		writers.Go(func() {
			for n := range 3 {
				if err := f.Write(said(strings.Repeat(fmt.Sprint("writer ", i, " "), n+1)), nil); err != nil && !errors.Is(err, ErrElsewhere) {
					t.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	writers.Wait()
	names, found := map[string]bool{}, &bytes.Buffer{}
	for i, f := range files {
		names[f.Path()] = true
		if got, want := questions(t, f.Path()), strings.Repeat(fmt.Sprint("writer ", i, " "), 3); got != want {
			fmt.Fprintf(found, "%s has %q, want %q\n", f.Path(), got, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != many || len(names) != many || !names[path] || found.Len() > 0 {
		t.Errorf("%d files under %d names, %v; want %d\n%s", len(entries), len(names), err, many, found)
	}
}

// Whoever cannot replace the file is told: nothing is kept then, and nothing left.
func TestNotReplaced(t *testing.T) {
	dir := t.TempDir()
	path, full := filepath.Join(dir, "notes"), errors.New("the disk is full")
	err := write(path, said("one"), nil, func(*renameio.PendingFile) error { return full })
	if files, readErr := os.ReadDir(dir); !errors.Is(err, full) || readErr != nil || len(files) != 0 {
		t.Errorf("got %v, and %d files are left, %v", err, len(files), readErr)
	}
}

// A session's file may be named in many ways, before it is there too. Another name of the same bytes is another file: who writes one leaves the other.
func TestIs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(os.Mkdir("sub", 0o700), os.Symlink("sub", "way")); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		session, path string
		want          bool
	}{
		{"notes", "notes", true},
		{"notes", "./notes", true},
		{"notes", filepath.Join(dir, "notes"), true},
		{"notes", "sub/../notes", true},
		{"./sub/notes", "way/notes", true},
		{"sub/notes", "link", true},
		{"notes", "sub/notes", false},
		{"notes", "notes-2", false},
		{"notes", "none/notes", false},
		{"notes", "hard", false},
	}
	check := func(when string, skip ...string) {
		for _, c := range cases {
			if got := (&File{path: c.session}).Is(c.path); got != c.want && !slices.Contains(skip, c.path) {
				t.Errorf("%s: %s for the session %s: got %t", when, c.path, c.session, got)
			}
		}
	}
	check("before there is one", "link")
	if err := errors.Join(Write("notes", said("one"), nil), Write("sub/notes", said("one"), nil), os.Link("notes", "hard"), os.Symlink("way/notes", "link")); err != nil {
		t.Fatal(err)
	}
	check("afterwards")
}

// The new file lies beside what a link points to: that may be another file system, to which nothing can be moved.
func TestElsewhereThroughALink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "sub", "notes.session"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), Write(path, said("one"), nil), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	file, _, err := Begin(link)
	if err == nil {
		err = Write(path, said("theirs"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Write(said("ours"), nil); !errors.Is(err, ErrElsewhere) || file.Path() != filepath.Join(dir, "sub", "notes-2.session") || questions(t, file.Path()) != "ours" {
		t.Errorf("got %v, kept in %s", err, file.Path())
	}
}
