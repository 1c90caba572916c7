package ort

import (
	"debug/elf"
	"debug/macho"
	"errors"
	"fmt"
	"io"
	"os"
)

// checkFile refuses what is not a whole shared library. The system's loader maps a file without looking at its end, and dies of
// SIGBUS on one that was cut short.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			return fmt.Errorf("%s: %w", path, p.Err)
		}
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a file", path)
	}
	if err := checkImage(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func checkImage(r io.ReaderAt, size int64) error {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return fmt.Errorf("%d bytes are no shared library", size)
	}
	need, err := extent(r, magic)
	if err != nil {
		return fmt.Errorf("damaged or not a shared library: %s", oneLine(err.Error()))
	}
	if need > uint64(size) {
		return fmt.Errorf("cut short: it has %d bytes and should have %d, fetch it again", size, need)
	}
	return nil
}

// extent is the size that a library's own headers claim.
func extent(r io.ReaderAt, magic [4]byte) (uint64, error) {
	switch {
	case string(magic[:]) == elf.ELFMAG:
		return elfExtent(r)
	case magic == [4]byte{0xca, 0xfe, 0xba, 0xbe}:
		return fatExtent(r)
	case magic == [4]byte{0xcf, 0xfa, 0xed, 0xfe}:
		f, err := macho.NewFile(r)
		if err != nil {
			return 0, err
		}
		return machoExtent(f, 0), nil
	}
	return 0, fmt.Errorf("it begins with % x", magic)
}

func fatExtent(r io.ReaderAt) (uint64, error) {
	fat, err := macho.NewFatFile(r)
	if err != nil {
		return 0, err
	}
	need := uint64(0)
	for _, arch := range fat.Arches {
		need = max(need, machoExtent(arch.File, uint64(arch.Offset)))
	}
	return need, nil
}

func machoExtent(f *macho.File, offset uint64) uint64 {
	need := uint64(0)
	for _, load := range f.Loads {
		if s, ok := load.(*macho.Segment); ok {
			need = max(need, offset+s.Offset+s.Filesz)
		}
	}
	return need
}
