// Package sys says what the machine has for this process: memory, cores, and what the process itself takes.
package sys

import (
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// Memory is what the machine, or the control group that the process runs in, has left. Bytes.
type Memory struct {
	Total     int64 // of the machine
	Available int64 // what can be taken now: the smaller of the machine's and what is left under Limit
	Limit     int64 // of the control group, 0 when there is none
}

// CPU is what there is to compute on.
type CPU struct {
	Logical  int     // hardware threads that this process may run on
	Physical int     // cores among them
	Quota    float64 // CPUs that the control group allows, 0 when it does not limit them
}

// Threads is the number of threads that a compute-bound program should have: one per physical core, and no more than the
// quota allows, because a thread that is stopped by the quota holds up all the others.
func (c CPU) Threads() int {
	n := c.Physical
	if n < 1 {
		n = max(c.Logical, 1)
	}
	if c.Quota > 0 {
		n = min(n, int(math.Ceil(c.Quota)))
	}
	return max(n, 1)
}

// Usage is the memory of this process. Bytes.
type Usage struct {
	Resident int64 // 0 where it is not known (macOS)
	Peak     int64 // the highest Resident so far
}

func logical() int { return runtime.NumCPU() } // respects the process's affinity

// Release is the version of the system's kernel, "" where it does not say.
func Release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
