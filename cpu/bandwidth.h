// Reading memory as fast as it arrives, to know what the kernels are held against.
#ifndef SHAMMAH_CPU_BANDWIDTH_H
#define SHAMMAH_CPU_BANDWIDTH_H

#include <stddef.h>
#include <stdint.h>

// size bytes that were written once, in huge pages where the system has them; NULL if there is no memory.
void *cpu_pages_new(size_t size);
void cpu_pages_free(void *pages, size_t size);

// The sum of n bytes' 64-bit words; p is aligned to 64 bytes, n a multiple of 256.
uint64_t cpu_read_sum(const void *p, size_t n);

#endif
