// The native library: found by the dynamic loader at run time, entered through one symbol.
#ifndef SHAMMAH_ORT_LIBRARY_H
#define SHAMMAH_ORT_LIBRARY_H

#include <dlfcn.h>
#include <string.h>

#include "onnxruntime_c_api.h"

// The loader's own words are copied in the same call, because dlerror belongs to the thread that failed. The caller frees them.
typedef struct { void *handle; char *error; } library_opened;

static inline library_opened library_open(const char *path, int global) {
  void *h = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
  const char *error = h ? NULL : dlerror();
  return (library_opened){h, error ? strdup(error) : NULL};
}

static inline void library_close(void *h) { dlclose(h); }

static inline int library_has(void *h, const char *symbol) { return dlsym(h, symbol) != NULL; }

// library_base is NULL where the library is not ONNX Runtime.
static inline const OrtApiBase *library_base(void *h) {
  const OrtApiBase *(*get)(void);
  *(void **)&get = dlsym(h, "OrtGetApiBase");
  return get ? get() : NULL;
}

static inline const char *library_version(const OrtApiBase *b) { return b->GetVersionString(); }

// library_table is NULL where the library is older than the header.
static inline const OrtApi *library_table(const OrtApiBase *b) { return b->GetApi(ORT_API_VERSION); }

#endif
