#include "log.h"

#include "_cgo_export.h"

// Called on any thread, also while the environment is being made. It never calls the runtime.
static void ORT_API_CALL forward(void *sink, OrtLoggingLevel severity, const char *category, const char *id, const char *where, const char *text) {
  (void)id;
  ortLog((uintptr_t)sink, (int)severity, (char *)category, (char *)where, (char *)text);
}

log_made log_env(const OrtApi *t, int severity, const char *id, uintptr_t sink) {
  OrtEnvCreationOptions o = {0};
  o.version = ORT_API_VERSION;
  o.logging_severity_level = severity;
  o.log_id = id;
  o.custom_logging_function = forward;
  o.custom_logging_param = (void *)sink;
  log_made made = {NULL, NULL};
  made.status = t->CreateEnvWithOptions(&o, &made.env);
  return made;
}
