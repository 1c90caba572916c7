package cpu

/*
#cgo noescape cpu_read_sum
#cgo nocallback cpu_read_sum
#include "bandwidth.h"
*/
import "C"

import (
	"fmt"
	"sync"
	"time"
	"unsafe"
)

const (
	bandwidthBytes  = 512 << 20 // far more than any cache holds
	bandwidthPasses = 15
)

// ReadBandwidth measures how many bytes a second so many threads read from memory together, each going through a part of its own from
// front to end, as the kernels go through weights. It is the best of several passes: what else the machine does only takes away.
// The half gigabyte that it reads is freed before it returns.
func ReadBandwidth(threads int) (bytesPerSecond float64, err error) {
	return readBandwidth(threads, bandwidthBytes, bandwidthPasses)
}

// readBandwidth cuts size, a multiple of 2 MiB, into a part for each thread.
func readBandwidth(threads, size, passes int) (float64, error) {
	const grain = 256
	if threads < 1 || threads > size/grain {
		return 0, fmt.Errorf("cpu: measure the read bandwidth: %d threads, expected 1 to %d", threads, size/grain)
	}
	pages := C.cpu_pages_new(C.size_t(size))
	if pages == nil {
		return 0, fmt.Errorf("cpu: measure the read bandwidth: no memory for %d bytes", size)
	}
	defer C.cpu_pages_free(pages, C.size_t(size))
	sums := make([]uint64, threads)
	best := 0.0
	for range passes {
		var wait sync.WaitGroup
		start := time.Now()
		for i := range threads {
			wait.Go(func() {
				from, to := i*(size/grain)/threads*grain, (i+1)*(size/grain)/threads*grain
				sums[i] = uint64(C.cpu_read_sum(unsafe.Add(pages, from), C.size_t(to-from)))
			})
		}
		wait.Wait()
		best = max(best, float64(size)/time.Since(start).Seconds())
		total := uint64(0)
		for _, s := range sums {
			total += s
		}
		if want := uint64(size/8) * 0x0101010101010101; total != want { // each byte is 1
			return 0, fmt.Errorf("cpu: measure the read bandwidth: the sum of what was read is %#x, expected %#x: the memory of this machine is at fault", total, want)
		}
	}
	return best, nil
}
