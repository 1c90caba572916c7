package ort

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
)

// elfExtent reads the headers by hand: debug/elf refuses a cut file before it says how long it should be.
func elfExtent(r io.ReaderAt) (uint64, error) {
	var head [64]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return 0, errors.New("its header is cut short")
	}
	if elf.Class(head[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(head[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return 0, errors.New("not a 64-bit little-endian library")
	}
	le := binary.LittleEndian
	if elf.Type(le.Uint16(head[16:])) != elf.ET_DYN {
		return 0, errors.New("an ELF file of another kind")
	}
	programs, sections := le.Uint64(head[32:]), le.Uint64(head[40:])
	programSize, programCount := uint64(le.Uint16(head[54:])), uint64(le.Uint16(head[56:]))
	sectionSize, sectionCount := uint64(le.Uint16(head[58:])), uint64(le.Uint16(head[60:]))
	if programSize < 56 || programCount == 0 || programs > 1<<40 || sections > 1<<40 {
		return 0, errors.New("its header makes no sense")
	}
	need := max(programs+programSize*programCount, sections+sectionSize*sectionCount)
	for i := range programCount {
		var p [56]byte
		if _, err := r.ReadAt(p[:], int64(programs+i*programSize)); err != nil {
			return need, nil // the file ends before its program headers do
		}
		offset, size := le.Uint64(p[8:]), le.Uint64(p[32:])
		if offset > 1<<40 || size > 1<<40 {
			return 0, errors.New("its program headers make no sense")
		}
		need = max(need, offset+size)
	}
	return need, nil
}
