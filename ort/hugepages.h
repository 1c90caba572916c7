// An allocator for the runtime that puts packed weights into huge pages: decoding reads all of them for every token, and fewer, larger
// pages make that faster. What a run allocates comes from there too, in memory of its own that goes back when the run is over.
#ifndef SHAMMAH_ORT_HUGEPAGES_H
#define SHAMMAH_ORT_HUGEPAGES_H

#include "onnxruntime_c_api.h"

// huge_new is NULL when there is no memory. The allocator must live as long as the environment that it is registered with.
OrtAllocator *huge_new(const OrtApi *t, const OrtMemoryInfo *info);
void huge_free(OrtAllocator *a);

#endif
