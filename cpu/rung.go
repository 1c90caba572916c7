package cpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"slices"
	"strings"
)

// Rung is the name of the rung in use: avx512vnni, avx512, avxvnni, avx2, neondot, neon or plain.
func Rung() string { return C.GoString(C.cpu_rung_in_use()) }

// Rungs names the rungs that this machine can execute, best first. The last one is always plain.
func Rungs() []string {
	var names []string
	for name := C.cpu_rung_name(0); name != nil; name = C.cpu_rung_name(C.size_t(len(names))) {
		names = append(names, C.GoString(name))
	}
	return names
}

// SetRung makes all kernels use the named rung from now on, in the whole process.
func SetRung(name string) error {
	rungs := Rungs()
	i := slices.Index(rungs, name)
	if i < 0 {
		return fmt.Errorf("cpu: set rung: expected one that this machine can execute (%s), found %q", strings.Join(rungs, ", "), name)
	}
	C.cpu_rung_set(C.size_t(i))
	return nil
}
