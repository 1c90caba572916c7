package plain

import (
	"bytes"
	"io/fs"
	"path"
	"time"
)

// replaced is a folder in which one file has another content.
type replaced struct {
	fs.FS
	name  string
	bytes []byte
}

func (r replaced) Open(name string) (fs.File, error) {
	if name == r.name {
		return &file{bytes.NewReader(r.bytes), info{path.Base(name), int64(len(r.bytes))}}, nil
	}
	return r.FS.Open(name)
}

func (r replaced) Stat(name string) (fs.FileInfo, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

func (r replaced) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(r.FS, name)
	for i, entry := range list {
		if path.Join(name, entry.Name()) == r.name {
			list[i] = fs.FileInfoToDirEntry(info{entry.Name(), int64(len(r.bytes))})
		}
	}
	return list, err
}

// file is the content in place of the file's.
type file struct {
	*bytes.Reader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
