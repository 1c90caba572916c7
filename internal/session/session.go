// Package session keeps a conversation in a file: what was said, as JSON, and behind it whatever spares its model to compute it again.
// A file of the one without the other is a session too; one whose name ends in .json never has more than the JSON.
package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/shammah/shammah-engine/engine/chat"
)

// Version is what this program writes and reads.
const Version = 1

// textBytesMax bounds the JSON.
const textBytesMax = 64 << 20

// Talk is what was said, and with whom. A Talk that nobody has kept has neither version nor model.
type Talk struct {
	Version int    `json:"version,omitempty"`
	Model   string `json:"model,omitempty"` // as --model names it
	Variant string `json:"variant,omitempty"`

	Adapters []string `json:"adapters,omitempty"` // as --lora names them
	chat.Conversation
}

// ErrCache says that the conversation is kept and only what was computed for it is not.
var ErrCache = errors.New("it will be computed again")

// Read reads what was said.
func Read(path string) (Talk, error) {
	t, f, err := read(path)
	if err != nil {
		return t, err
	}
	return t, f.Close()
}

// Cache is what follows what was said, to be closed by the caller; io.EOF where nothing does.
func Cache(path string) (io.ReadCloser, error) {
	_, f, err := read(path)
	if err != nil {
		return nil, err
	}
	b := bufio.NewReaderSize(f, 1<<20)
	if _, err := b.Peek(1); err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{b, f}, nil
}

// read leaves the file at the first byte after the JSON and its line end.
func read(path string) (t Talk, f *os.File, err error) {
	info, err := os.Stat(path) // before it is opened: to open a pipe is to wait
	if err != nil {
		return t, nil, fmt.Errorf("session: %w", err)
	}
	if !info.Mode().IsRegular() {
		return t, nil, fmt.Errorf("session: read %s: expected a file, found %s", path, kind(info))
	}
	if f, err = os.Open(path); err != nil {
		return t, nil, fmt.Errorf("session: %w", err)
	}
	t, end, err := parse(f)
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return Talk{}, nil, fmt.Errorf("session: read %s: %w", path, err)
	}
	return t, f, nil
}

// parse reads the JSON and says where what follows it begins.
func parse(r io.Reader) (t Talk, end int64, err error) {
	limited := &io.LimitedReader{R: r, N: textBytesMax}
	d := json.NewDecoder(limited)
	if err = d.Decode(&t); err != nil && limited.N == 0 {
		return t, 0, fmt.Errorf("not a conversation: it has more than %d MiB", textBytesMax>>20)
	}
	if err != nil {
		return t, 0, fmt.Errorf("not a conversation: %w", err)
	}
	end = d.InputOffset()
	if rest := make([]byte, 1); readOne(d, limited, rest) && rest[0] == '\n' {
		end++
	}
	return t, end, t.check()
}

func readOne(d *json.Decoder, r io.Reader, b []byte) bool {
	_, err := io.ReadFull(io.MultiReader(d.Buffered(), r), b)
	return err == nil
}

func (t *Talk) check() error {
	if t.Version > Version {
		return fmt.Errorf("it is of version %d, which a newer program wrote; expected %d", t.Version, Version)
	}
	if t.Turns == nil {
		return errors.New(`not a conversation: expected an object with "turns"`)
	}
	for i, m := range t.Turns {
		if want := [...]string{chat.User, chat.Assistant}[i%2]; m.Role != want {
			return fmt.Errorf("message %d is of %q, expected %q: user and assistant take turns", i+1, m.Role, want)
		}
	}
	if len(t.Turns)%2 != 0 {
		return errors.New("the last question has no answer; take it out of the file")
	}
	return nil
}

// Write writes a session, whole or not at all. Cache, which may be nil, writes what follows what was said; if it fails, what was said is
// kept without it, and the error is an ErrCache.
func Write(path string, t Talk, cache func(io.Writer) error) error {
	return write(path, t, cache, (*renameio.PendingFile).CloseAtomicallyReplace)
}

// write leaves it to replace how the file that was written takes path's place. While it does, no other program of this kind replaces one
// in that folder.
func write(path string, t Talk, cache func(io.Writer) error, replace func(*renameio.PendingFile) error) error {
	t.Version = Version
	if t.Turns == nil {
		t.Turns = []chat.Message{}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(t); err != nil {
		return fmt.Errorf("session: write %s: %w", path, cause(err))
	}
	f, err := create(path)
	if err != nil {
		return fmt.Errorf("session: write %s: %w", path, cause(err))
	}
	defer f.Cleanup()
	if _, err := f.Write(text.Bytes()); err != nil {
		return fmt.Errorf("session: write %s: %w", path, cause(err))
	}
	var cacheErr error
	if cache != nil && !strings.EqualFold(filepath.Ext(path), ".json") {
		if cacheErr = writeCache(f, cache); cacheErr != nil {
			cacheErr = fmt.Errorf("session: write %s: only what was said is kept, %w: %w", path, ErrCache, cause(cacheErr))
			if err := f.Truncate(int64(text.Len())); err != nil {
				return fmt.Errorf("session: write %s: %w", path, cause(err))
			}
		}
	}
	err = f.Sync() // what takes long comes before the lock
	if folder := lock(filepath.Dir(f.Name())); folder != nil {
		defer folder.Close()
	}
	if err == nil {
		err = replace(f)
	}
	if err != nil {
		return fmt.Errorf("session: write %s: %w", path, cause(err))
	}
	return cacheErr
}

func writeCache(w io.Writer, cache func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, 1<<20)
	if err := cache(b); err != nil {
		return err
	}
	return b.Flush()
}

// create makes the file that is to take path's place, in the same folder. A link stays: what it points to is replaced.
func create(path string) (*renameio.PendingFile, error) {
	path = target(path)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("expected a file, found %s", kind(info))
	}
	return renameio.TempFile(filepath.Dir(path), path)
}

// target is the file that a path leads to, as far as it is there.
func target(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// cause is err without the name of a file that is only there for a moment.
func cause(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func kind(info fs.FileInfo) string {
	if info.IsDir() {
		return "a folder"
	}
	return "a device or a pipe"
}
