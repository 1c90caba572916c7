#ifndef SHAMMAH_ORT_LOG_H
#define SHAMMAH_ORT_LOG_H

#include <stdint.h>

#include "onnxruntime_c_api.h"

// log_env makes the environment; its messages go to the Go logger that sink names.
typedef struct { OrtStatus *status; OrtEnv *env; } log_made;
log_made log_env(const OrtApi *t, int severity, const char *id, uintptr_t sink);

#endif
