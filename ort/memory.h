// Memory that the runtime keeps between calls: zeroed, aligned to 64 bytes, outside of Go's heap.
#ifndef SHAMMAH_ORT_MEMORY_H
#define SHAMMAH_ORT_MEMORY_H

#include <stddef.h>

// memory_new is NULL when there is none. Pages of a large block take no room until they are touched.
void *memory_new(size_t bytes);
void memory_free(void *p, size_t bytes);

// The same in huge pages where the system has them.
void *memory_new_huge(size_t bytes);
void memory_free_huge(void *p, size_t bytes);

#endif
