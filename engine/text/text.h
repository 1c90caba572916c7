// The C functions of third_party/text that are ours. See src/exports.rs there for what each does.
#ifndef SHAMMAH_TEXT_H
#define SHAMMAH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHAMMAH_TEXT_OK = 0, SHAMMAH_TEXT_FAILED = 1, SHAMMAH_TEXT_RAISED = 2, SHAMMAH_TEXT_LONG = 3 };

// Bytes, ids or a pointer; or the text of an error. Freed with shammah_text_free unless borrowed. The pointer is NULL or a real one,
// also of an empty reply: Go does not bear others.
struct shammah_text_reply {
  void *data;
  size_t len;
  int32_t status;
  uint32_t detail;
};

void shammah_text_free(void *data, size_t len);

struct shammah_text_reply shammah_text_encode(const void *handle, const uint8_t *data, size_t len,
                                              bool add_special, bool plain, uint32_t mark, size_t most);
struct shammah_text_reply shammah_text_decode(const void *handle, const uint32_t *ids, size_t len,
                                              bool keep_special);
struct shammah_text_reply shammah_text_token(const void *handle, uint32_t id);
int64_t shammah_text_id(const void *handle, const uint8_t *data, size_t len);
uint32_t shammah_text_size(const void *handle);
bool shammah_text_special(const void *handle, uint32_t id);

void *shammah_text_stream_new(const void *handle, bool keep_special);
struct shammah_text_reply shammah_text_stream_push(void *stream, uint32_t id); // borrowed
struct shammah_text_reply shammah_text_stream_flush(void *stream);             // borrowed
void shammah_text_stream_reset(void *stream);
void shammah_text_stream_free(void *stream);

struct shammah_text_reply shammah_text_template_new(const uint8_t *data, size_t len);
struct shammah_text_reply shammah_text_template_render(const void *tmpl, const void *handle,
                                                       const uint8_t *vars, size_t len, int64_t now);
void shammah_text_template_free(void *tmpl);

#endif
