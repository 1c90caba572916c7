// Package adapters keeps LoRA adapters on this machine: each under a name, with the model that it is for and the hashes of its files.
//
// An adapter is a folder with its files and a record. It gets its name when all of it was copied, checked and flushed, so that nobody
// sees half of one, whoever else adds or removes at the same time.
package adapters

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shammah/shammah-engine/engine/lora"
	"github.com/shammah/shammah-engine/internal/filesystem"
)

// ErrNotFound is wrapped by errors about a name that no adapter has.
var ErrNotFound = errors.New("there is no adapter of that name")

// ErrExists is wrapped by errors about a name that is taken.
var ErrExists = errors.New("the name is taken")

// Store is a folder of adapters. It is safe for concurrent use, by several processes too.
type Store struct{ dir string }

// In is the store in the folder of the program's own files.
func In(home string) Store { return Store{filepath.Join(home, "adapters")} }

// Dir is where the adapters lie.
func (s Store) Dir() string { return s.dir }

// Kept is an adapter in the store.
type Kept struct {
	Name       string    `json:"name"`
	Base       string    `json:"base"`                 // the model that it is for, as that is called here
	TrainedOn  string    `json:"trained_on,omitempty"` // as its own files say
	Added      time.Time `json:"added"`
	Rank       int       `json:"rank"`
	Modules    int       `json:"modules"`
	Parameters int64     `json:"parameters"`
	Files      []File    `json:"files"`
	Dir        string    `json:"-"`
	Fault      string    `json:"-"` // why it cannot be used, of a listed one
}

// File is one file of an adapter.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of its files.
func (k Kept) Bytes() (n int64) {
	for _, f := range k.Files {
		n += f.Size
	}
	return n
}

const (
	recordFile     = "record.json"
	recordBytesMax = 64 << 10
	onnxFile       = "adapter" + lora.OnnxSuffix
	addingPrefix   = ".adding-"
	removingPrefix = ".removing-"
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*$`)

const nameBytesMax = 64

// CheckName says what is wrong with a name. Capital letters are: a file system may not tell them from small ones.
func CheckName(name string) error {
	switch {
	case len(name) > nameBytesMax || !validName.MatchString(name):
		return fmt.Errorf("adapters: read the name %q: expected at most %d small letters, digits, - and _, with dots between them", name, nameBytesMax)
	case strings.HasSuffix(name, lora.OnnxSuffix) || strings.HasSuffix(name, safetensors):
		return fmt.Errorf("adapters: read the name %q: it would be taken for a file's; leave out %s", name, filepath.Ext(name))
	case name == Off:
		return fmt.Errorf("adapters: read the name %q: it means no adapter; choose another", name)
	}
	return nil
}

// Add copies the adapter at a path into the store. Check is asked about what was copied before it gets its name.
func (s Store) Add(ctx context.Context, name, path, base string, check func(*lora.Adapter) error) (k Kept, err error) {
	if err := s.Free(name); err != nil {
		return k, err
	}
	if _, err := lora.Load(path); err != nil { // its errors name the user's own files; those of the copy would not
		return k, err
	}
	s.sweep()
	made, free, err := s.Work()
	if err != nil {
		return k, err
	}
	defer free()
	defer os.RemoveAll(made) // which has another name by then, if all went well
	k = Kept{Name: name, Base: base, Added: time.Now().UTC().Truncate(time.Second)}
	if k.Files, err = copyFiles(ctx, path, made); err != nil {
		return k, fmt.Errorf("adapters: add %s: %w", name, err)
	}
	a, err := lora.Load(filepath.Join(made, k.Files[len(k.Files)-1].Name))
	if err == nil {
		err = check(a)
	}
	if err != nil {
		return k, err
	}
	k.TrainedOn, k.Rank, k.Modules, k.Parameters = a.Base, a.Rank, len(a.Modules), a.Parameters()
	if err := writeRecord(made, k); err != nil {
		return k, fmt.Errorf("adapters: add %s: %w", name, err)
	}
	if err := ctx.Err(); err != nil {
		return k, err
	}
	k.Dir = filepath.Join(s.dir, name)
	if err := os.Rename(made, k.Dir); errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return k, taken(name)
	} else if err != nil {
		return k, fmt.Errorf("adapters: add %s: %w", name, err)
	}
	return k, filesystem.SyncDir(s.dir)
}

// Work is a new folder in the store for what is made on the way to an adapter. Who asked for it removes it, and then frees it; what a
// process leaves behind that was killed is swept by the next one.
func (s Store) Work() (dir string, free func(), err error) {
	if dir, free, err = s.hold(addingPrefix); err != nil {
		return "", nil, fmt.Errorf("adapters: make a folder to work in: %w", err)
	}
	return dir, free, nil
}

func (s Store) hold(prefix string) (dir string, free func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", nil, err
	}
	return filesystem.Hold(func() (string, error) { return os.MkdirTemp(s.dir, prefix) })
}

// Free says whether a name can be given to a new adapter.
func (s Store) Free(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(s.dir, name)); err == nil {
		return taken(name)
	}
	return nil
}

func taken(name string) error {
	return fmt.Errorf("adapters: add %s: %w; `shammah-engine lora rm %s` removes the one that has it", name, ErrExists, name)
}

// copyFiles copies an adapter's files under the names that they have in the store, weights last.
func copyFiles(ctx context.Context, path, to string) (files []File, err error) {
	sources, err := lora.Files(path)
	if err != nil {
		return nil, err
	}
	names := []string{lora.ConfigFile, lora.WeightsFile}
	if len(sources) == 1 {
		names = []string{onnxFile}
	}
	for i, source := range sources {
		f, err := copyFile(ctx, source, filepath.Join(to, names[i]))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func copyFile(ctx context.Context, from, to string) (f File, err error) {
	in, err := os.Open(from)
	if err != nil {
		return f, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return f, err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, hash), whileAsked{ctx, in})
	if err == nil {
		err = out.Sync()
	}
	return File{Name: filepath.Base(to), Size: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, errors.Join(err, out.Close())
}

// whileAsked is a reader that ends with its context.
type whileAsked struct {
	ctx context.Context
	in  io.Reader
}

func (r whileAsked) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}

func writeRecord(dir string, k Kept) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, recordFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), filesystem.SyncDir(dir))
}

// sweep removes what was left by processes that were killed.
func (s Store) sweep() {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), addingPrefix) && !strings.HasPrefix(e.Name(), removingPrefix) {
			continue
		}
		dir := filepath.Join(s.dir, e.Name())
		if free, ok := filesystem.Seize(dir); ok {
			_ = os.RemoveAll(dir)
			free()
		}
	}
}

// List is every adapter, by name. One whose record cannot be read has a Fault.
func (s Store) List() ([]Kept, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adapters: list them: %w", err)
	}
	var list []Kept
	for _, e := range entries {
		if !e.IsDir() || CheckName(e.Name()) != nil {
			continue
		}
		k, err := s.Find(e.Name())
		if errors.Is(err, ErrNotFound) {
			continue // removed just now
		}
		if err != nil {
			k = Kept{Name: e.Name(), Dir: filepath.Join(s.dir, e.Name()), Fault: err.Error()}
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b Kept) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Find reads the record of an adapter.
func (s Store) Find(name string) (k Kept, err error) {
	if err := CheckName(name); err != nil {
		return k, err
	}
	dir := filepath.Join(s.dir, name)
	if _, err := os.Stat(dir); err != nil {
		return k, fmt.Errorf("adapters: find %s: %w; `shammah-engine lora list` shows those that are there", name, ErrNotFound)
	}
	damaged := func(err error) (Kept, error) {
		return k, fmt.Errorf("adapters: find %s: its %s is damaged: %w; remove it with `shammah-engine lora rm %s` and add it again", name, recordFile, err, name)
	}
	data, err := readRecord(filepath.Join(dir, recordFile))
	if err != nil {
		return damaged(err)
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return damaged(err)
	}
	if len(k.Files) == 0 || k.Base == "" {
		return damaged(errors.New("it names no files or no base"))
	}
	for _, f := range k.Files {
		if !slices.Contains([]string{lora.ConfigFile, lora.WeightsFile, onnxFile}, f.Name) {
			return damaged(fmt.Errorf("it names a file %q", f.Name))
		}
	}
	k.Name, k.Dir = name, dir
	return k, nil
}

func readRecord(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, recordBytesMax+1))
	if len(data) > recordBytesMax {
		return nil, fmt.Errorf("it has more than %d bytes", recordBytesMax)
	}
	return data, err
}

// Load reads an adapter, after its files were found to be those that were added.
func (s Store) Load(name string) (Kept, *lora.Adapter, error) {
	k, err := s.Find(name)
	if err != nil {
		return k, nil, err
	}
	for _, f := range k.Files {
		hash := sha256.New()
		in, err := os.Open(filepath.Join(k.Dir, f.Name))
		if err == nil {
			_, err = io.Copy(hash, io.LimitReader(in, f.Size+1))
			err = errors.Join(err, in.Close())
		}
		if err == nil && hex.EncodeToString(hash.Sum(nil)) != f.SHA256 {
			err = errors.New("its hash is another one than when it was added")
		}
		if err != nil {
			return k, nil, fmt.Errorf("adapters: load %s: %s is damaged: %w; remove it with `shammah-engine lora rm %s` and add it again", name, f.Name, err, name)
		}
	}
	a, err := lora.Load(filepath.Join(k.Dir, k.Files[len(k.Files)-1].Name))
	return k, a, err
}

// Remove takes an adapter away. Who has loaded it keeps what was loaded.
func (s Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	s.sweep()
	hidden, free, err := s.hold(removingPrefix)
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, name), filepath.Join(hidden, name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; `shammah-engine lora list` shows those that are there", ErrNotFound)
	}
	if hidden != "" {
		err = errors.Join(err, os.RemoveAll(hidden))
		free()
	}
	if err != nil {
		return fmt.Errorf("adapters: remove %s: %w", name, err)
	}
	return nil
}
