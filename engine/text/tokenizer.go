package text

// #include "text.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"sync"
	"unsafe"

	"github.com/daulet/tokenizers"
)

// BytesMax is the longest text that is encoded.
const BytesMax = 4 << 20

// fileMax is the largest tokenizer.json that is read; the largest known has 33 MB.
const fileMax = 128 << 20

// Tokenizer is a loaded tokenizer.json. It is safe for concurrent use, Close included.
type Tokenizer struct {
	mu     sync.RWMutex // held for reading during calls
	tok    *tokenizers.Tokenizer
	handle unsafe.Pointer // the C object of tok; nil when closed
	size   int
	pieces *pieces
}

// EncodeOptions says how Encode reads a text.
type EncodeOptions struct {
	AddSpecial bool // add what the model expects around a text, such as BOS; never after a chat template
	Plain      bool // control tokens in the text are plain text
	Most       int  // a text above 256 kB with more ids than this is a *LongError; 0: with any number
}

// LongError says that a text has more ids than were asked for, which were not counted to the end: nothing is encoded at all where
// the text cannot fit into so few of the file's tokens.
type LongError struct {
	Least, Most int // how many there are at least, how many were asked for
}

func (e *LongError) Error() string {
	return fmt.Sprintf("text: encode: the text has at least %d tokens, at most %d were asked for", e.Least, e.Most)
}

// DecodeOptions says how Decode writes a text.
type DecodeOptions struct {
	KeepSpecial bool // control tokens appear in the text
}

// Load reads a tokenizer.json.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("text: load tokenizer: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("text: load tokenizer: %s is not a regular file", path)
	}
	if info.Size() > fileMax {
		return nil, fmt.Errorf("text: load tokenizer: %s has %d bytes, at most %d are read", path, info.Size(), fileMax)
	}
	json, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("text: load tokenizer: %w", err)
	}
	t, err := Parse(json)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, path)
	}
	return t, nil
}

// Parse loads a tokenizer from the text of a tokenizer.json.
func Parse(json []byte) (*Tokenizer, error) {
	if len(json) > fileMax {
		return nil, fmt.Errorf("text: parse tokenizer: %d bytes, at most %d are read", len(json), fileMax)
	}
	tok, err := tokenizers.FromBytes(json)
	if err != nil {
		return nil, fmt.Errorf("text: parse tokenizer: %w", err)
	}
	handle, err := handleOf(tok)
	if err != nil {
		return nil, errors.Join(err, tok.Close())
	}
	size := int(C.shammah_text_size(handle))
	return &Tokenizer{tok: tok, handle: handle, size: size, pieces: newPieces(size)}, nil
}

// handleOf is the C object behind a tokenizer of the daulet package, which does not export it. A
// release that stores it elsewhere is an error here, not a wild pointer.
func handleOf(tok *tokenizers.Tokenizer) (unsafe.Pointer, error) {
	field := reflect.ValueOf(tok).Elem().FieldByName("tokenizer")
	if !field.IsValid() || field.Kind() != reflect.UnsafePointer || field.IsNil() {
		return nil, errors.New("text: parse tokenizer: daulet/tokenizers no longer keeps its handle in the field tokenizer; use v1.24.0")
	}
	return field.UnsafePointer(), nil
}

// Close frees the tokenizer after calls that are under way. Streams stay usable.
func (t *Tokenizer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handle == nil {
		return nil
	}
	t.handle = nil
	return t.tok.Close()
}

// Encode turns text into ids. What is not UTF-8 in it is read as U+FFFD; more than BytesMax are refused.
func (t *Tokenizer) Encode(s string, o EncodeOptions) ([]int32, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	return t.encode(s, o, 0)
}

// encode passes the text with its length. A mark other than 0 is a character that breaks control
// tokens and does not count otherwise. The caller holds the lock.
func (t *Tokenizer) encode(s string, o EncodeOptions, mark rune) ([]int32, error) {
	data, n := bytesOf(s)
	most := C.size_t(math.MaxInt)
	if o.Most > 0 {
		most = C.size_t(o.Most)
	}
	r := C.shammah_text_encode(t.handle, data, n, C.bool(o.AddSpecial), C.bool(o.Plain), C.uint32_t(mark), most)
	switch r.status {
	case C.SHAMMAH_TEXT_OK:
	case C.SHAMMAH_TEXT_LONG:
		return nil, &LongError{int(r.detail), o.Most}
	default:
		return nil, fmt.Errorf("text: encode: %s", takeBytes(r))
	}
	ids := make([]int32, int(r.len)/4)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(ids))), int(r.len)), borrow(r))
	C.shammah_text_free(r.data, r.len)
	return ids, nil
}

// Decode turns ids into text. An id without a token has no text, as models have more rows than
// tokens; a negative one is an error. The result equals what a Stream gives for the same ids.
func (t *Tokenizer) Decode(ids []int32, o DecodeOptions) (string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return "", ErrClosed
	}
	for i, id := range ids {
		if id < 0 {
			return "", fmt.Errorf("text: decode: id %d at place %d is negative", id, i)
		}
	}
	first := (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(ids)))
	r := C.shammah_text_decode(t.handle, first, C.size_t(len(ids)), C.bool(o.KeepSpecial))
	if r.status != C.SHAMMAH_TEXT_OK {
		return "", fmt.Errorf("text: decode: %s", takeBytes(r))
	}
	return takeBytes(r), nil
}

// Token is the token with an id as the vocabulary writes it; ok is false if there is none.
func (t *Tokenizer) Token(id int32) (token string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil || id < 0 {
		return "", false
	}
	r := C.shammah_text_token(t.handle, C.uint32_t(id))
	if r.data == nil {
		return "", false
	}
	token = takeBytes(r)
	return token, r.status == C.SHAMMAH_TEXT_OK
}

// ID is the id of a token as the vocabulary writes it; ok is false if there is none.
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return 0, false
	}
	data, n := bytesOf(token)
	found := C.shammah_text_id(t.handle, data, n)
	return int32(found), found >= 0
}

// Size is the highest id plus one. Some ids below it may have no token.
func (t *Tokenizer) Size() int { return t.size }

// Special reports whether an id is a control token, which is left out of decoded text.
func (t *Tokenizer) Special(id int32) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.handle != nil && id >= 0 && bool(C.shammah_text_special(t.handle, C.uint32_t(id)))
}
