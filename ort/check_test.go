package ort_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

// machO is the least of a Mach-O library: one segment, which ends with the file.
func machO(size uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xfeedfacf)
	for _, n := range []uint32{0x0100000c, 0, 6, 1, 72, 0, 0, 0x19, 72} { // arm64, a library of one command: LC_SEGMENT_64
		b = le.AppendUint32(b, n)
	}
	b = append(b, "__LINKEDIT\x00\x00\x00\x00\x00\x00"...)
	for _, n := range []uint64{0, size, 0, size} { // address, memory, offset, file size
		b = le.AppendUint64(b, n)
	}
	b = append(b, make([]byte, 16)...)
	return append(b, make([]byte, int(size)-len(b))...)
}

// Every proper beginning of a library is refused, before the system's loader could die of it.
func TestCheckFileRefusesEveryCut(t *testing.T) {
	elf, err := os.ReadFile(build(t, "libwhole.so", "int whole(void) { return 1; }"))
	if err != nil {
		t.Fatal(err)
	}
	for name, whole := range map[string][]byte{"ELF": elf, "Mach-O": machO(4096)} {
		path := filepath.Join(t.TempDir(), "lib.so")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ort.CheckFile(path); err != nil {
			t.Errorf("%s, whole: %v", name, err)
		}
		for n := int64(len(whole)) - 1; n >= 0; n-- {
			if err := os.Truncate(path, n); err != nil {
				t.Fatal(err)
			}
			if err := ort.CheckFile(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s, cut from %d to %d bytes: %v", name, len(whole), n, err)
			}
		}
	}
}

func FuzzCheckImage(f *testing.F) {
	f.Add(machO(256))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add([]byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := ort.CheckImage(bytes.NewReader(content), int64(len(content))); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is more than one line", err)
		}
	})
}
