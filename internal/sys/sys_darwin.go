package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ReadMemory says how much memory there is. Available counts free pages and those that the kernel gives back at once:
// purgeable ones and clean copies of files. macOS has no control groups.
func ReadMemory() (Memory, error) {
	total, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return Memory{}, fmt.Errorf("sys: read the machine's memory: %w", err)
	}
	pages, err := unix.SysctlUint32("vm.page_free_count")
	if err != nil {
		return Memory{}, fmt.Errorf("sys: read the machine's free memory: %w", err)
	}
	sum := int64(pages)
	for _, name := range []string{"vm.page_purgeable_count", "vm.page_pageable_external_count"} {
		if n, err := unix.SysctlUint32(name); err == nil {
			sum += int64(n)
		}
	}
	return Memory{Total: int64(total), Available: min(sum*int64(unix.Getpagesize()), int64(total))}, nil
}

// ReadCPU says what there is to compute on: the fast cores alone, where a chip has slow ones too, because threads that
// work in step wait for the slowest.
func ReadCPU() CPU {
	c := CPU{Logical: logical(), Physical: logical()}
	for _, name := range []string{"hw.perflevel0.physicalcpu", "hw.physicalcpu"} {
		if n, err := unix.SysctlUint32(name); err == nil && n > 0 {
			c.Physical = min(int(n), c.Logical)
			break
		}
	}
	return c
}

// ReadUsage says how much memory this process took at most; what it takes now is not known without Mach calls.
func ReadUsage() (Usage, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return Usage{}, fmt.Errorf("sys: read this process's memory: %w", err)
	}
	return Usage{Peak: r.Maxrss}, nil
}
