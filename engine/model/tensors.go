package model

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/shammah/shammah-engine/internal/jsonobject"
	"github.com/shammah/shammah-engine/internal/onnx"
)

// smallMax bounds what Read reads at once.
const smallMax = 64 << 20

// Tensors reads the tensors of a model's graph from its files, which it opens at their first use. It is safe for concurrent use.
type Tensors struct {
	files Files
	mu    sync.Mutex
	open  map[string]*File
}

// ReadGraph reads the graph once more, for a caller that edits it, and opens the model's tensors.
func (f Files) ReadGraph() (*onnx.Model, *Tensors, error) {
	t := &Tensors{files: f, open: map[string]*File{}}
	file, err := t.file(f.Graph)
	if err != nil {
		return nil, nil, err
	}
	m, err := onnx.Read(file, file.Size)
	if err != nil {
		return nil, nil, errors.Join(f.fileError(f.Graph, "%v", err), t.Close())
	}
	return m, t, nil
}

// Graph is the graph's own file.
func (t *Tensors) Graph() (*File, error) { return t.file(t.files.Graph) }

func (t *Tensors) file(name string) (*File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.open[name]; f != nil {
		return f, nil
	}
	f, err := t.files.openFile(name)
	if err == nil {
		t.open[name] = f
	}
	return f, err
}

// Place is the file in which a tensor's bytes lie, and where they begin.
func (t *Tensors) Place(x *onnx.Tensor) (*File, int64, error) {
	if x.External == nil {
		size, err := x.Size()
		if err != nil {
			return nil, 0, err
		}
		if x.Raw.End-x.Raw.At != size {
			return nil, 0, fmt.Errorf("model: read tensor %q: its %d bytes are not stored as raw data", jsonobject.Shorten(x.Name), size)
		}
		f, err := t.file(t.files.Graph)
		return f, x.Raw.At, err
	}
	name, err := t.files.dataName(x) // Find has checked that the bytes lie inside the file
	if err != nil {
		return nil, 0, err
	}
	f, err := t.file(name)
	return f, x.External.Offset, err
}

// ReadAt fills b with a tensor's bytes from offset on.
func (t *Tensors) ReadAt(b []byte, x *onnx.Tensor, offset int64) error {
	f, at, err := t.Place(x)
	if err != nil {
		return err
	}
	if n, err := f.ReadAt(b, at+offset); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("model: read tensor %q from %s: %w", jsonobject.Shorten(x.Name), f.Name, err)
	}
	return nil
}

// Read is all bytes of a small tensor.
func (t *Tensors) Read(x *onnx.Tensor) ([]byte, error) {
	if x.Data != nil {
		return x.Data, nil
	}
	size, err := x.Size()
	if err != nil {
		return nil, err
	}
	if size < 0 || size > smallMax {
		return nil, fmt.Errorf("model: read tensor %q: it has %d bytes, at most %d were expected", jsonobject.Shorten(x.Name), size, smallMax)
	}
	b := make([]byte, size)
	return b, t.ReadAt(b, x, 0)
}

// Close closes the files.
func (t *Tensors) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for name, f := range t.open {
		errs = append(errs, f.Close())
		delete(t.open, name)
	}
	return errors.Join(errs...)
}

// File is an open file of a model, read at any place.
type File struct {
	io.ReaderAt
	io.Closer
	Name string // as messages call it
	Size int64
}

// openFile opens a file of the model.
func (f Files) openFile(name string) (*File, error) {
	file, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	at, ok := file.(io.ReaderAt)
	if !ok {
		file.Close()
		return nil, f.fileError(name, "its file system cannot read at a place")
	}
	return &File{at, file, f.label(name), size}, nil
}
