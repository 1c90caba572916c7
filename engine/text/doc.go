// Package text turns text into token ids and back, and renders chat templates.
//
// It is the only importer of github.com/daulet/tokenizers and of the Rust static library in
// third_party/text, which implements that package's C functions and some more. A tokenizer is opened,
// checked, sized and closed through daulet/tokenizers. Text goes to the same C object by our functions,
// so that it is in memory once, because that package
//
//   - passes C strings, which end at the first NUL byte, in both directions;
//   - gives an empty result where encoding or decoding fails, without the reason;
//   - has no streaming decode, no id <-> token, and no prompts whose content cannot make control tokens.
//
// Files and templates come from the internet: everything bad in them is an error, never a crash.
package text

/*
#cgo LDFLAGS: -L${SRCDIR}/../../build/lib -ltokenizers -lm -ldl
#cgo noescape shammah_text_encode
#cgo noescape shammah_text_decode
#cgo noescape shammah_text_token
#cgo noescape shammah_text_id
#cgo noescape shammah_text_stream_push
#cgo noescape shammah_text_template_new
#cgo noescape shammah_text_template_render
#cgo nocallback shammah_text_encode
#cgo nocallback shammah_text_decode
#cgo nocallback shammah_text_token
#cgo nocallback shammah_text_id
#cgo nocallback shammah_text_size
#cgo nocallback shammah_text_special
#cgo nocallback shammah_text_stream_push
#cgo nocallback shammah_text_stream_flush
#cgo nocallback shammah_text_template_new
#cgo nocallback shammah_text_template_render
#include "text.h"
*/
import "C"

import (
	"errors"
	"unsafe"
)

// ErrClosed is the error of every use after Close.
var ErrClosed = errors.New("text: already closed")

// takeBytes copies what the library allocated for a reply and frees it.
func takeBytes(r C.struct_shammah_text_reply) string {
	s := borrow(r)
	out := string(append([]byte(nil), s...))
	C.shammah_text_free(r.data, r.len)
	return out
}

// borrow is the memory of a reply, valid until the library frees or changes it.
func borrow(r C.struct_shammah_text_reply) []byte {
	return unsafe.Slice((*byte)(r.data), int(r.len))
}

// bytesOf is the memory of s for the time of one call.
func bytesOf(s string) (*C.uint8_t, C.size_t) {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.StringData(s))), C.size_t(len(s))
}
