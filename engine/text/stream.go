package text

// #include "text.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Stream turns ids into text one by one. It never gives half a rune, and what it gives in all equals
// Decode of all ids. It is for one goroutine at a time.
type Stream struct {
	stream unsafe.Pointer // nil when closed
	pieces *pieces        // the tokenizer's
}

// NewStream starts a stream. It keeps what it needs of the tokenizer alive. From a closed tokenizer it
// is a closed stream.
func (t *Tokenizer) NewStream(keepSpecial bool) *Stream {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return &Stream{}
	}
	return &Stream{stream: C.shammah_text_stream_new(t.handle, C.bool(keepSpecial)), pieces: t.pieces}
}

// Push is the text that became certain with this token, often all of its text, sometimes none. It
// allocates that text once, and nothing when the same token gives it again.
func (s *Stream) Push(id int32) (string, error) {
	if s.stream == nil {
		return "", ErrClosed
	}
	if id < 0 {
		return "", fmt.Errorf("text: decode: id %d is negative", id)
	}
	r := C.shammah_text_stream_push(s.stream, C.uint32_t(id))
	if err := streamError(r); err != nil {
		return "", err
	}
	return s.pieces.text(id, borrow(r)), nil
}

// Flush is what was held back at the end of a text; a rune that never ended is U+FFFD.
func (s *Stream) Flush() (string, error) {
	if s.stream == nil {
		return "", ErrClosed
	}
	r := C.shammah_text_stream_flush(s.stream)
	if err := streamError(r); err != nil {
		return "", err
	}
	return string(borrow(r)), nil
}

// Reset makes the stream ready for another text.
func (s *Stream) Reset() {
	if s.stream != nil {
		C.shammah_text_stream_reset(s.stream)
	}
}

// Close frees the stream.
func (s *Stream) Close() {
	if s.stream != nil {
		C.shammah_text_stream_free(s.stream)
		s.stream = nil
	}
}

// streamError is what a reply says went wrong. A good reply lends its bytes until the next call on the stream.
func streamError(r C.struct_shammah_text_reply) error {
	if r.status != C.SHAMMAH_TEXT_OK {
		return fmt.Errorf("text: decode: %s", takeBytes(r))
	}
	return nil
}
