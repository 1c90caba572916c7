package model

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shammah/shammah-engine/internal/jsonobject"
	"github.com/shammah/shammah-engine/internal/onnx"
)

const configMax = 16 << 20 // bytes of one configuration file; the largest real ones have about 1 MB

// open opens a regular file of the model. (A pipe would block, a device could give anything.)
func (f Files) open(name string) (fs.File, int64, error) {
	info, err := fs.Stat(f.FS, name)
	if err != nil {
		return nil, 0, f.fileError(name, "%s", cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, 0, f.fileError(name, "it is no regular file but %s", kind(info.Mode()))
	}
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, 0, f.fileError(name, "%s", cause(err))
	}
	return file, info.Size(), nil
}

func (f Files) fileError(name, format string, args ...any) error {
	return fmt.Errorf("model: read %s: %w: %s", f.label(name), ErrFile, fmt.Sprintf(format, args...))
}

// cause is the system's own words without the path, which the message already has.
func cause(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return m.String()
}

// read returns a whole file of at most limit bytes.
func (f Files) read(name string, limit int64) ([]byte, error) {
	file, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > limit {
		return nil, f.fileError(name, "it has %d bytes, at most %d were expected", size, limit)
	}
	b := make([]byte, size)
	n, err := io.ReadFull(file, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, f.fileError(name, "%s", cause(err))
	}
	return b[:n], nil
}

// object reads a configuration file; a name of "" gives an empty object.
func (f Files) object(name string) (object, error) {
	if name == "" {
		return object{failed: new(error)}, nil
	}
	b, err := f.read(name, configMax)
	if err != nil {
		return object{}, err
	}
	return parseJSON(f.label(name), b)
}

// readGraph reads the graph, without weights.
func (f *Files) readGraph() error {
	if f.graph != nil {
		return nil
	}
	file, size, err := f.open(f.Graph)
	if err != nil {
		return err
	}
	defer file.Close()
	at, ok := file.(io.ReaderAt)
	if !ok {
		return f.fileError(f.Graph, "its file system cannot read at a place")
	}
	head := make([]byte, min(size, 512))
	if _, err := at.ReadAt(head, 0); err != nil && err != io.EOF {
		return f.fileError(f.Graph, "%s", cause(err))
	}
	if what := sniff(head); what != "" {
		return f.fileError(f.Graph, "it %s", what)
	}
	f.graph, err = onnx.Read(at, size)
	switch {
	case errors.Is(err, onnx.ErrTruncated):
		return f.fileError(f.Graph, "it was cut off, or is no ONNX file: %v", err)
	case err != nil:
		return f.fileError(f.Graph, "%v", err)
	}
	f.Bytes = size
	return nil
}

// findData lists the files of the graph's external data, and checks that each tensor lies inside one that the model may use.
func (f *Files) findData() error {
	sizes := map[string]int64{}
	for _, t := range f.graph.External() {
		name, err := f.dataName(t)
		if err != nil {
			return err
		}
		size, known := sizes[name]
		if !known {
			if size, err = f.dataSize(name); err != nil {
				return err
			}
			sizes[name] = size
			f.Data = append(f.Data, name)
			if f.Bytes > math.MaxInt64-size {
				return f.fileError(name, "sizes overflow")
			}
			f.Bytes += size
		}
		if err := f.checkExtent(t, name, size); err != nil {
			return err
		}
	}
	return nil
}

// dataName is the file that an external tensor names: relative, below the graph's folder, without ways around.
func (f *Files) dataName(t *onnx.Tensor) (string, error) {
	l := t.External.Location
	reject := ""
	switch {
	case strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == 0xfffd }):
		reject = "it holds characters that no file name should"
	case strings.HasPrefix(l, "/") || len(l) > 1 && l[1] == ':':
		reject = "it is absolute"
	case strings.Contains("/"+l+"/", "/../"):
		reject = "it leaves the model's folder"
	case len(l) > 1024:
		reject = "it is too long"
	}
	name := path.Join(path.Dir(f.Graph), l)
	if reject == "" && (!fs.ValidPath(name) || strings.HasSuffix(l, "/")) {
		reject = "it names no file"
	}
	if reject != "" {
		return "", f.fileError(f.Graph, "tensor %q has its data in %q: %s", jsonobject.Shorten(t.Name), jsonobject.Shorten(l), reject)
	}
	return name, nil
}

func (f *Files) checkExtent(t *onnx.Tensor, name string, size int64) error {
	want, err := t.Size()
	if err != nil {
		return f.fileError(f.Graph, "%v", err)
	}
	e := t.External
	length := e.Length
	switch {
	case want < 0:
		return f.fileError(f.Graph, "tensor %q of type %v cannot have external data", jsonobject.Shorten(t.Name), t.Type)
	case length < 0:
		length = want
	case length != want:
		return f.fileError(f.Graph, "tensor %q has %d bytes of external data; its shape %v of %v takes %d",
			jsonobject.Shorten(t.Name), length, t.Dims, t.Type, want)
	}
	if e.Offset > size || length > size-e.Offset {
		return f.fileError(name, "it has %d bytes, and tensor %q is at %d to %d: it was cut off, or belongs to another graph%s",
			size, jsonobject.Shorten(t.Name), e.Offset, uint64(e.Offset)+uint64(length), f.looks(name))
	}
	return nil
}

// looks adds what a short data file really is.
func (f *Files) looks(name string) string {
	file, size, err := f.open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, min(size, 512))
	n, _ := io.ReadFull(file, head)
	if what := sniff(head[:n]); what != "" && what != looksJSON && n < 512 {
		return "; it " + what
	}
	return ""
}

// dataSize checks that the file is one the model may use, and returns its size. A link out of the model's folder is
// refused, except into the blobs (or the shared contents) of the Hub cache that the folder is a snapshot of; so is a second hard link, because
// the runtime would map a file that others may change or that was never meant for it.
func (f *Files) dataSize(name string) (int64, error) {
	if f.Dir == "" {
		file, size, err := f.open(name)
		if err != nil {
			return 0, err
		}
		return size, file.Close()
	}
	full := f.Path(name)
	root, err := filepath.EvalSymlinks(f.Dir)
	if err != nil {
		return 0, f.fileError(name, "%s", cause(err))
	}
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		if target, e := os.Readlink(full); e == nil {
			return 0, f.fileError(name, "it is a link to %s: %s", target, cause(err))
		}
		return 0, f.fileError(name, "the graph's weights: %s", cause(err))
	}
	blobs := blobsOf(root)
	inBlobs := blobs != "" && (filepath.Dir(real) == blobs || strings.HasPrefix(real, storeOf(blobs)))
	if rel, err := filepath.Rel(root, real); !inBlobs && (err != nil || !filepath.IsLocal(rel)) {
		return 0, f.fileError(name, "it is a link that leads out of the model's folder, to %s; copy the file into the folder", real)
	}
	info, err := os.Stat(real)
	if err != nil {
		return 0, f.fileError(name, "%s", cause(err))
	}
	if !info.Mode().IsRegular() {
		return 0, f.fileError(name, "it is no regular file but %s", kind(info.Mode()))
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 && !inBlobs {
		return 0, f.fileError(name, "it has %d hard links, so that something else may change it; make a copy of its own", uint64(s.Nlink))
	}
	return info.Size(), nil
}

// storeOf is the folder, beside all repositories of the Hub's cache, in which newer versions of Hugging Face's own client
// keep contents that several of them share; their blobs are links into it.
func storeOf(blobs string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(blobs)), "blobs") + string(filepath.Separator)
}

// blobsOf is the blobs folder of the Hub cache that the folder is a snapshot in (or lies below one), "" when it is none:
// models--owner--name/snapshots/<commit>/... beside models--owner--name/blobs.
func blobsOf(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		parent := filepath.Dir(d)
		if parent == d {
			return ""
		}
		if filepath.Base(parent) != "snapshots" {
			continue
		}
		if blobs, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(parent), "blobs")); err == nil {
			return blobs
		}
	}
}
