package hub

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// listFS shows a repository's list of files as a file system, so that the package model can choose among files that are
// not here. Only the files in text can be read.
type listFS struct {
	files map[string]File
	dirs  map[string][]fs.DirEntry
	text  map[string][]byte
}

// newListFS shows the files below the folder root, "." for all.
func newListFS(files map[string]File, root string) *listFS {
	l := &listFS{files: map[string]File{}, dirs: map[string][]fs.DirEntry{".": nil}, text: map[string][]byte{}}
	for name, f := range files {
		if root != "." {
			rest, ok := strings.CutPrefix(name, root+"/")
			if !ok {
				continue
			}
			name = rest
		}
		l.files[name] = f
		l.dirs[path.Dir(name)] = append(l.dirs[path.Dir(name)], listEntry{path.Base(name), f.Size, false})
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			up, entry := path.Dir(dir), listEntry{path.Base(dir), 0, true}
			if !slices.Contains(l.dirs[up], fs.DirEntry(entry)) {
				l.dirs[up] = append(l.dirs[up], entry)
			}
		}
	}
	for _, entries := range l.dirs {
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return l
}

// Open implements fs.FS.
func (l *listFS) Open(name string) (fs.File, error) {
	f, ok := l.files[name]
	if text, known := l.text[name]; ok && known {
		return &listFile{listEntry{path.Base(name), f.Size, false}, bytes.NewReader(text)}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Stat implements fs.StatFS.
func (l *listFS) Stat(name string) (fs.FileInfo, error) {
	if f, ok := l.files[name]; ok {
		return listEntry{path.Base(name), f.Size, false}, nil
	}
	if _, ok := l.dirs[name]; ok {
		return listEntry{path.Base(name), 0, true}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements fs.ReadDirFS.
func (l *listFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, ok := l.dirs[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return entries, nil
}

// listEntry is a file or folder, as fs.DirEntry and fs.FileInfo.
type listEntry struct {
	name string
	size int64
	dir  bool
}

func (e listEntry) Name() string               { return e.name }
func (e listEntry) Size() int64                { return e.size }
func (e listEntry) IsDir() bool                { return e.dir }
func (e listEntry) ModTime() time.Time         { return time.Time{} }
func (e listEntry) Sys() any                   { return nil }
func (e listEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e listEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e listEntry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// listFile is an open file whose text is known.
type listFile struct {
	info listEntry
	*bytes.Reader
}

func (f *listFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *listFile) Close() error               { return nil }

var _ io.ReaderAt = (*listFile)(nil)
