package engine

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/shammah/shammah-engine/engine/model"
)

// mapping is part of a file in memory: mapped where the file lies on disk, else read.
type mapping struct {
	bytes []byte // what was asked for
	pages []byte // with what lies before on its first page; nil when bytes were read
}

// mapFile shows n bytes from offset on. A mapped float32 may lie at an odd address: the kernels copy it as bytes.
func mapFile(f *model.File, offset int64, n int) (mapping, error) {
	file, onDisk := f.ReaderAt.(*os.File)
	if !onDisk {
		b := make([]byte, n)
		if got, err := f.ReadAt(b, offset); got < n {
			return mapping{}, fmt.Errorf("engine: read %d bytes of %s: %w", n, f.Name, cmp.Or(err, io.ErrUnexpectedEOF))
		}
		return mapping{bytes: b}, nil
	}
	if offset < 0 || offset > f.Size || int64(n) > f.Size-offset {
		return mapping{}, fmt.Errorf("engine: map %d bytes of %s from %d on: it has %d", n, f.Name, offset, f.Size)
	}
	before := offset % int64(os.Getpagesize())
	pages, err := unix.Mmap(int(file.Fd()), offset-before, n+int(before), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return mapping{}, fmt.Errorf("engine: map %s: %w", f.Name, err)
	}
	return mapping{bytes: pages[before:], pages: pages}, nil
}

func (m mapping) close() error {
	if m.pages == nil {
		return nil
	}
	return unix.Munmap(m.pages)
}
