// Calls through the table of functions that ONNX Runtime hands out: the library is opened at run time, so there is nothing to link with.
// Results come back by value, never through a pointer into Go memory: a log line may call back into Go and move the caller's stack.
#ifndef SHAMMAH_ORT_TABLE_H
#define SHAMMAH_ORT_TABLE_H

#include <stdint.h>
#include <stdlib.h>

#include "onnxruntime_c_api.h"

typedef struct { OrtStatus *status; void *ptr; } ort_made;
typedef struct { OrtStatus *status; size_t n; } ort_count;
typedef struct { OrtStatus *status; void *const *list; size_t n; } ort_list;

// status

static inline int ort_status_code(const OrtApi *t, const OrtStatus *s) { return (int)t->GetErrorCode(s); }
static inline const char *ort_status_message(const OrtApi *t, const OrtStatus *s) { return t->GetErrorMessage(s); }
static inline void ort_status_release(const OrtApi *t, OrtStatus *s) { t->ReleaseStatus(s); }

// environment and allocators

static inline void ort_env_release(const OrtApi *t, OrtEnv *e) { t->ReleaseEnv(e); }

static inline ort_made ort_cpu_memory_info(const OrtApi *t) {
  OrtMemoryInfo *m = NULL;
  OrtStatus *s = t->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &m);
  return (ort_made){s, m};
}

static inline void ort_memory_info_release(const OrtApi *t, OrtMemoryInfo *m) { t->ReleaseMemoryInfo(m); }

static inline ort_made ort_default_allocator(const OrtApi *t) {
  OrtAllocator *a = NULL;
  OrtStatus *s = t->GetAllocatorWithDefaultOptions(&a);
  return (ort_made){s, a};
}

static inline void ort_free(const OrtApi *t, OrtAllocator *a, void *p) {
  OrtStatus *s = t->AllocatorFree(a, p);
  if (s) t->ReleaseStatus(s);
}

static inline ort_list ort_providers(const OrtApi *t) {
  char **names = NULL;
  int n = 0;
  OrtStatus *s = t->GetAvailableProviders(&names, &n);
  return (ort_list){s, (void *const *)names, (size_t)n};
}

static inline void ort_providers_release(const OrtApi *t, void *const *names, size_t n) {
  OrtStatus *s = t->ReleaseAvailableProviders((char **)names, (int)n);
  if (s) t->ReleaseStatus(s);
}

static inline OrtStatus *ort_allocator_register(const OrtApi *t, OrtEnv *e, OrtAllocator *a) { return t->RegisterAllocator(e, a); }
static inline OrtStatus *ort_allocator_unregister(const OrtApi *t, OrtEnv *e, const OrtMemoryInfo *m) { return t->UnregisterAllocator(e, m); }

static inline ort_made ort_session_allocator(const OrtApi *t, const OrtSession *s, const OrtMemoryInfo *m) {
  OrtAllocator *a = NULL;
  OrtStatus *status = t->CreateAllocator(s, m, &a);
  return (ort_made){status, a};
}

static inline void ort_allocator_release(const OrtApi *t, OrtAllocator *a) { t->ReleaseAllocator(a); }

static inline ort_made ort_allocator_stats(const OrtApi *t, const OrtAllocator *a) {
  OrtKeyValuePairs *p = NULL;
  OrtStatus *s = t->AllocatorGetStats(a, &p);
  return (ort_made){s, p};
}

typedef struct { const char *const *keys; const char *const *values; size_t n; } ort_pairs;

static inline ort_pairs ort_pairs_list(const OrtApi *t, const OrtKeyValuePairs *p) {
  ort_pairs r = {NULL, NULL, 0};
  t->GetKeyValuePairs(p, &r.keys, &r.values, &r.n);
  return r;
}

static inline void ort_pairs_release(const OrtApi *t, OrtKeyValuePairs *p) { t->ReleaseKeyValuePairs(p); }

// session options

static inline ort_made ort_session_options(const OrtApi *t) {
  OrtSessionOptions *o = NULL;
  OrtStatus *s = t->CreateSessionOptions(&o);
  return (ort_made){s, o};
}

static inline void ort_session_options_release(const OrtApi *t, OrtSessionOptions *o) { t->ReleaseSessionOptions(o); }
static inline OrtStatus *ort_set_intra_threads(const OrtApi *t, OrtSessionOptions *o, int n) { return t->SetIntraOpNumThreads(o, n); }
static inline OrtStatus *ort_set_inter_threads(const OrtApi *t, OrtSessionOptions *o, int n) { return t->SetInterOpNumThreads(o, n); }
static inline OrtStatus *ort_set_sequential(const OrtApi *t, OrtSessionOptions *o) { return t->SetSessionExecutionMode(o, ORT_SEQUENTIAL); }
static inline OrtStatus *ort_set_level(const OrtApi *t, OrtSessionOptions *o, int level) { return t->SetSessionGraphOptimizationLevel(o, (GraphOptimizationLevel)level); }
static inline OrtStatus *ort_set_mem_pattern(const OrtApi *t, OrtSessionOptions *o, int on) { return on ? t->EnableMemPattern(o) : t->DisableMemPattern(o); }
static inline OrtStatus *ort_set_arena(const OrtApi *t, OrtSessionOptions *o, int on) { return on ? t->EnableCpuMemArena(o) : t->DisableCpuMemArena(o); }
static inline OrtStatus *ort_set_config(const OrtApi *t, OrtSessionOptions *o, const char *k, const char *v) { return t->AddSessionConfigEntry(o, k, v); }
static inline OrtStatus *ort_set_dimension(const OrtApi *t, OrtSessionOptions *o, const char *name, int64_t n) { return t->AddFreeDimensionOverrideByName(o, name, n); }
static inline OrtStatus *ort_set_load_cancel(const OrtApi *t, OrtSessionOptions *o, int on) { return t->SessionOptionsSetLoadCancellationFlag(o, on != 0); }

static inline OrtStatus *ort_append_provider(const OrtApi *t, OrtSessionOptions *o, const char *name, char **keys, char **values, size_t n) {
  return t->SessionOptionsAppendExecutionProvider(o, name, (const char *const *)keys, (const char *const *)values, n);
}

static inline OrtStatus *ort_append_cuda(const OrtApi *t, OrtSessionOptions *o, char **keys, char **values, size_t n) {
  OrtCUDAProviderOptionsV2 *cuda = NULL;
  OrtStatus *s = t->CreateCUDAProviderOptions(&cuda);
  if (!s && n > 0) s = t->UpdateCUDAProviderOptions(cuda, (const char *const *)keys, (const char *const *)values, n);
  if (!s) s = t->SessionOptionsAppendExecutionProvider_CUDA_V2(o, cuda);
  if (cuda) t->ReleaseCUDAProviderOptions(cuda);
  return s;
}

// plug-in providers; devices belong to the environment

static inline OrtStatus *ort_plugin_register(const OrtApi *t, OrtEnv *e, const char *name, const char *path) { return t->RegisterExecutionProviderLibrary(e, name, path); }

static inline ort_list ort_devices(const OrtApi *t, const OrtEnv *e) {
  const OrtEpDevice *const *list = NULL;
  size_t n = 0;
  OrtStatus *s = t->GetEpDevices(e, &list, &n);
  return (ort_list){s, (void *const *)list, n};
}

static inline const char *ort_device_provider(const OrtApi *t, const OrtEpDevice *d) { return t->EpDevice_EpName(d); }
static inline const char *ort_device_vendor(const OrtApi *t, const OrtEpDevice *d) { return t->EpDevice_EpVendor(d); }
static inline int ort_device_kind(const OrtApi *t, const OrtEpDevice *d) { return (int)t->HardwareDevice_Type(t->EpDevice_Device(d)); }

static inline OrtStatus *ort_append_device(const OrtApi *t, OrtSessionOptions *o, OrtEnv *e, const OrtEpDevice *d, char **keys, char **values, size_t n) {
  return t->SessionOptionsAppendExecutionProvider_V2(o, e, &d, 1, (const char *const *)keys, (const char *const *)values, n);
}

// operators of the program's own

static inline ort_made ort_domain(const OrtApi *t, const char *name) {
  OrtCustomOpDomain *d = NULL;
  OrtStatus *s = t->CreateCustomOpDomain(name, &d);
  return (ort_made){s, d};
}

static inline OrtStatus *ort_domain_add(const OrtApi *t, OrtCustomOpDomain *d, const void *op) { return t->CustomOpDomain_Add(d, op); }
static inline OrtStatus *ort_add_domain(const OrtApi *t, OrtSessionOptions *o, OrtCustomOpDomain *d) { return t->AddCustomOpDomain(o, d); }
static inline void ort_domain_release(const OrtApi *t, OrtCustomOpDomain *d) { t->ReleaseCustomOpDomain(d); }

// session

static inline ort_made ort_session_open(const OrtApi *t, const OrtEnv *e, const char *path, const OrtSessionOptions *o) {
  OrtSession *p = NULL;
  OrtStatus *s = t->CreateSession(e, path, o, &p);
  return (ort_made){s, p};
}

static inline ort_made ort_session_open_bytes(const OrtApi *t, const OrtEnv *e, const void *graph, size_t n, const OrtSessionOptions *o) {
  OrtSession *p = NULL;
  OrtStatus *s = t->CreateSessionFromArray(e, graph, n, o, &p);
  return (ort_made){s, p};
}

static inline void ort_session_release(const OrtApi *t, OrtSession *s) { t->ReleaseSession(s); }

// The three lists that a session declares, in the order of Go's `port` type.
enum { ORT_INPUTS, ORT_OUTPUTS, ORT_OVERRIDABLE };

static inline ort_count ort_port_count(const OrtApi *t, const OrtSession *s, int port) {
  size_t n = 0;
  OrtStatus *status = port == ORT_INPUTS    ? t->SessionGetInputCount(s, &n)
                      : port == ORT_OUTPUTS ? t->SessionGetOutputCount(s, &n)
                                            : t->SessionGetOverridableInitializerCount(s, &n);
  return (ort_count){status, n};
}

static inline ort_made ort_port_name(const OrtApi *t, const OrtSession *s, int port, size_t i, OrtAllocator *a) {
  char *name = NULL;
  OrtStatus *status = port == ORT_INPUTS    ? t->SessionGetInputName(s, i, a, &name)
                      : port == ORT_OUTPUTS ? t->SessionGetOutputName(s, i, a, &name)
                                            : t->SessionGetOverridableInitializerName(s, i, a, &name);
  return (ort_made){status, name};
}

static inline ort_made ort_port_type(const OrtApi *t, const OrtSession *s, int port, size_t i) {
  OrtTypeInfo *info = NULL;
  OrtStatus *status = port == ORT_INPUTS    ? t->SessionGetInputTypeInfo(s, i, &info)
                      : port == ORT_OUTPUTS ? t->SessionGetOutputTypeInfo(s, i, &info)
                                            : t->SessionGetOverridableInitializerTypeInfo(s, i, &info);
  return (ort_made){status, info};
}

static inline void ort_type_release(const OrtApi *t, OrtTypeInfo *i) { t->ReleaseTypeInfo(i); }

// ort_type_tensor is NULL for what is not a tensor; the answer belongs to the type info.
static inline ort_made ort_type_tensor(const OrtApi *t, const OrtTypeInfo *i) {
  const OrtTensorTypeAndShapeInfo *info = NULL;
  OrtStatus *s = t->CastTypeInfoToTensorInfo(i, &info);
  return (ort_made){s, (void *)info};
}

static inline ort_count ort_tensor_element(const OrtApi *t, const OrtTensorTypeAndShapeInfo *i) {
  ONNXTensorElementDataType e = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  OrtStatus *s = t->GetTensorElementType(i, &e);
  return (ort_count){s, (size_t)e};
}

static inline ort_count ort_tensor_rank(const OrtApi *t, const OrtTensorTypeAndShapeInfo *i) {
  size_t n = 0;
  OrtStatus *s = t->GetDimensionsCount(i, &n);
  return (ort_count){s, n};
}

// ort_tensor_dims fills n dimensions and n names that belong to the type info.
static inline OrtStatus *ort_tensor_dims(const OrtApi *t, const OrtTensorTypeAndShapeInfo *i, int64_t *dims, const char **symbols, size_t n) {
  OrtStatus *s = t->GetDimensions(i, dims, n);
  return s ? s : t->GetSymbolicDimensions(i, symbols, n);
}

// values

static inline ort_made ort_tensor_over(const OrtApi *t, const OrtMemoryInfo *m, void *data, size_t bytes, const int64_t *shape, size_t rank, int element) {
  OrtValue *v = NULL;
  OrtStatus *s = t->CreateTensorWithDataAsOrtValue(m, data, bytes, shape, rank, (ONNXTensorElementDataType)element, &v);
  return (ort_made){s, v};
}

// ort_tensor_replace makes a tensor over the same memory and releases the old one only when that went well.
static inline ort_made ort_tensor_replace(const OrtApi *t, const OrtMemoryInfo *m, OrtValue *old, void *data, size_t bytes, const int64_t *shape, size_t rank, int element) {
  ort_made r = ort_tensor_over(t, m, data, bytes, shape, rank, element);
  if (!r.status) t->ReleaseValue(old);
  return r;
}

static inline void ort_value_release(const OrtApi *t, OrtValue *v) { t->ReleaseValue(v); }

static inline ort_count ort_value_kind(const OrtApi *t, const OrtValue *v) {
  enum ONNXType kind = ONNX_TYPE_UNKNOWN;
  OrtStatus *s = t->GetValueType(v, &kind);
  return (ort_count){s, (size_t)kind};
}

typedef struct { OrtStatus *status; int element; const int64_t *shape; size_t rank; size_t bytes; void *data; } ort_tensor_view;

// ort_tensor_look reads type, shape and memory of a tensor; the shape and the memory belong to it.
static inline ort_tensor_view ort_tensor_look(const OrtApi *t, OrtValue *v) {
  ort_tensor_view r = {NULL, 0, NULL, 0, 0, NULL};
  ONNXTensorElementDataType e = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  r.status = t->GetTensorElementTypeAndShapeDataReference(v, &e, &r.shape, &r.rank);
  r.element = (int)e;
  if (r.status || e == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) return r;
  r.status = t->GetTensorSizeInBytes(v, &r.bytes);
  if (!r.status) r.status = t->GetTensorMutableData(v, &r.data);
  return r;
}

// memory of a session's device

typedef struct { OrtStatus *status; OrtMemoryInfo *info; OrtAllocator *allocator; void *data; } ort_device_memory;

static inline void ort_device_free(const OrtApi *t, ort_device_memory m) {
  if (m.data) ort_free(t, m.allocator, m.data);
  if (m.allocator) t->ReleaseAllocator(m.allocator);
  if (m.info) t->ReleaseMemoryInfo(m.info);
}

static inline ort_device_memory ort_device_new(const OrtApi *t, const OrtSession *s, const char *name, int id, size_t bytes) {
  ort_device_memory m = {NULL, NULL, NULL, NULL};
  m.status = t->CreateMemoryInfo(name, OrtDeviceAllocator, id, OrtMemTypeDefault, &m.info);
  if (!m.status) m.status = t->CreateAllocator(s, m.info, &m.allocator);
  if (!m.status) m.status = t->AllocatorAlloc(m.allocator, bytes, &m.data);
  if (m.status) ort_device_free(t, m);
  return m;
}

// runs

// A provider that records runs would record the first of any shape: none is, unless a later entry gives its number.
#define ORT_RUN_GRAPH "gpu_graph_id"

static inline ort_made ort_run_options(const OrtApi *t) {
  OrtRunOptions *o = NULL;
  OrtStatus *s = t->CreateRunOptions(&o);
  if (!s && (s = t->AddRunConfigEntry(o, ORT_RUN_GRAPH, "-1"))) {
    t->ReleaseRunOptions(o);
    o = NULL;
  }
  return (ort_made){s, o};
}

static inline void ort_run_options_release(const OrtApi *t, OrtRunOptions *o) { t->ReleaseRunOptions(o); }
static inline OrtStatus *ort_run_options_terminate(const OrtApi *t, OrtRunOptions *o) { return t->RunOptionsSetTerminate(o); }
static inline OrtStatus *ort_run_options_resume(const OrtApi *t, OrtRunOptions *o) { return t->RunOptionsUnsetTerminate(o); }
static inline OrtStatus *ort_run_options_config(const OrtApi *t, OrtRunOptions *o, const char *k, const char *v) { return t->AddRunConfigEntry(o, k, v); }
static inline const char *ort_run_options_entry(const OrtApi *t, const OrtRunOptions *o, const char *k) { return t->GetRunConfigEntry(o, k); }
static inline OrtStatus *ort_run_options_adapter(const OrtApi *t, OrtRunOptions *o, const OrtLoraAdapter *a) { return t->RunOptionsAddActiveLoraAdapter(o, a); }

// A call is one prepared run: names and values in memory of its own, inputs first.
typedef struct { size_t inputs, outputs; char **names; OrtValue **values; } ort_call;

static inline ort_call *ort_call_new(size_t inputs, size_t outputs) {
  size_t n = inputs + outputs;
  ort_call *c = calloc(1, sizeof *c + 2 * n * sizeof(void *));
  if (!c) return NULL;
  c->inputs = inputs;
  c->outputs = outputs;
  c->names = (char **)(c + 1);
  c->values = (OrtValue **)(c->names + n);
  return c;
}

static inline void ort_call_free(ort_call *c) {
  for (size_t i = 0; i < c->inputs + c->outputs; i++) free(c->names[i]);
  free(c);
}

static inline OrtStatus *ort_call_run(const OrtApi *t, OrtSession *s, const OrtRunOptions *o, ort_call *c) {
  return t->Run(s, o, (const char *const *)c->names, (const OrtValue *const *)c->values, c->inputs,
                (const char *const *)c->names + c->inputs, c->outputs, c->values + c->inputs);
}

// adapters

static inline ort_made ort_adapter_open(const OrtApi *t, const char *path) {
  OrtLoraAdapter *a = NULL;
  OrtStatus *s = t->CreateLoraAdapter(path, NULL, &a);
  return (ort_made){s, a};
}

static inline void ort_adapter_release(const OrtApi *t, OrtLoraAdapter *a) { t->ReleaseLoraAdapter(a); }

// metadata

static inline ort_made ort_metadata(const OrtApi *t, const OrtSession *s) {
  OrtModelMetadata *m = NULL;
  OrtStatus *status = t->SessionGetModelMetadata(s, &m);
  return (ort_made){status, m};
}

static inline void ort_metadata_release(const OrtApi *t, OrtModelMetadata *m) { t->ReleaseModelMetadata(m); }

// The texts of a model's metadata, in the order of Go's `metadataText`.
static inline ort_made ort_metadata_text(const OrtApi *t, const OrtModelMetadata *m, int which, OrtAllocator *a) {
  char *text = NULL;
  OrtStatus *s = which == 0   ? t->ModelMetadataGetProducerName(m, a, &text)
                 : which == 1 ? t->ModelMetadataGetGraphName(m, a, &text)
                 : which == 2 ? t->ModelMetadataGetDomain(m, a, &text)
                              : t->ModelMetadataGetDescription(m, a, &text);
  return (ort_made){s, text};
}

typedef struct { OrtStatus *status; int64_t n; } ort_number;

static inline ort_number ort_metadata_version(const OrtApi *t, const OrtModelMetadata *m) {
  int64_t n = 0;
  OrtStatus *s = t->ModelMetadataGetVersion(m, &n);
  return (ort_number){s, n};
}

static inline ort_list ort_metadata_keys(const OrtApi *t, const OrtModelMetadata *m, OrtAllocator *a) {
  char **keys = NULL;
  int64_t n = 0;
  OrtStatus *s = t->ModelMetadataGetCustomMetadataMapKeys(m, a, &keys, &n);
  return (ort_list){s, (void *const *)keys, (size_t)n};
}

static inline ort_made ort_metadata_value(const OrtApi *t, const OrtModelMetadata *m, OrtAllocator *a, const char *key) {
  char *text = NULL;
  OrtStatus *s = t->ModelMetadataLookupCustomMetadataMap(m, a, key, &text);
  return (ort_made){s, text};
}

// placement of nodes; all answers belong to the session

static inline ort_list ort_placement(const OrtApi *t, const OrtSession *s) {
  const OrtEpAssignedSubgraph *const *list = NULL;
  size_t n = 0;
  OrtStatus *status = t->Session_GetEpGraphAssignmentInfo(s, &list, &n);
  return (ort_list){status, (void *const *)list, n};
}

static inline ort_list ort_placement_nodes(const OrtApi *t, const OrtEpAssignedSubgraph *g) {
  const OrtEpAssignedNode *const *list = NULL;
  size_t n = 0;
  OrtStatus *s = t->EpAssignedSubgraph_GetNodes(g, &list, &n);
  return (ort_list){s, (void *const *)list, n};
}

static inline ort_made ort_placement_provider(const OrtApi *t, const OrtEpAssignedSubgraph *g) {
  const char *name = NULL;
  OrtStatus *s = t->EpAssignedSubgraph_GetEpName(g, &name);
  return (ort_made){s, (void *)name};
}

// The texts of a placed node: 0 its name, 1 its operator, 2 the operator's domain.
static inline ort_made ort_placement_text(const OrtApi *t, const OrtEpAssignedNode *node, int which) {
  const char *text = NULL;
  OrtStatus *s = which == 0   ? t->EpAssignedNode_GetName(node, &text)
                 : which == 1 ? t->EpAssignedNode_GetOperatorType(node, &text)
                              : t->EpAssignedNode_GetDomain(node, &text);
  return (ort_made){s, (void *)text};
}

#endif
