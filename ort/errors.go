package ort

// #cgo noescape ort_status_code
// #cgo nocallback ort_status_code
// #cgo noescape ort_status_message
// #cgo nocallback ort_status_message
// #include "table.h"
import "C"

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// ErrClosed says that a handle, or one that it was made from, has been closed.
	ErrClosed = errors.New("closed")
	// ErrTerminated says that a run was ended by RunOptions.Terminate or by Close.
	ErrTerminated = errors.New("terminated")
)

// Code is the runtime's own kind of error.
type Code int

// The codes of OrtErrorCode.
const (
	Fail Code = iota + 1
	InvalidArgument
	NoSuchFile
	NoModel
	EngineError
	RuntimeException
	InvalidProtobuf
	ModelLoaded
	NotImplemented
	InvalidGraph
	ProviderFail
	LoadCanceled
	RequiresCompilation
	NotFound
)

var codeNames = [...]string{"ok", "fail", "invalid argument", "no such file", "no model", "engine error", "runtime exception", "invalid protobuf",
	"model loaded", "not implemented", "invalid graph", "provider fail", "load canceled", "requires compilation", "not found"}

func (c Code) String() string {
	if c < 0 || int(c) >= len(codeNames) {
		return fmt.Sprintf("code %d", int(c))
	}
	return codeNames[c]
}

// Error is what the runtime said about one call.
type Error struct {
	Op    string // what was attempted, with its file or tensor
	Code  Code
	Msg   string // the runtime's words, on one line
	cause error  // ErrTerminated, or why a load was cancelled
}

func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("ort: %s: %v", e.Op, e.cause)
	}
	return fmt.Sprintf("ort: %s: %s (%s)", e.Op, e.Msg, e.Code)
}

func (e *Error) Unwrap() error { return e.cause }

// table is the runtime's table of functions; it stays valid while the process lives, because the library is never unloaded.
type table struct{ c *C.OrtApi }

// check turns a status into an error and releases it. The caller adds what was attempted only when there is something to tell.
func (t table) check(s *C.OrtStatus) *Error {
	if s == nil {
		return nil
	}
	e := &Error{Code: Code(C.ort_status_code(t.c, s)), Msg: withoutPlace(oneLine(C.GoString(C.ort_status_message(t.c, s))))}
	C.ort_status_release(t.c, s)
	return e
}

// in names what was attempted. It must not be called on nil: a nil *Error is not a nil error.
func (e *Error) in(format string, args ...any) error {
	e.Op = fmt.Sprintf(format, args...)
	return e
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sourcePlace is where the runtime's own source threw: a file and a line.
var sourcePlace = regexp.MustCompile(`[^\s:]*/onnxruntime[^\s:]*\.(cc|h|cu|cuh|mm):\d+ `)

// withoutPlace leaves the place in the runtime's source out of its words, and the function's signature after it: they say nothing to
// the reader and hide what does.
func withoutPlace(s string) string {
	at := sourcePlace.FindStringIndex(s)
	if at == nil {
		return s
	}
	rest := s[at[1]:]
	open := strings.IndexByte(rest, '(')
	if open < 0 {
		return s
	}
	for open < len(rest) && strings.IndexByte("([", rest[open]) >= 0 {
		end := closing(rest[open:])
		if end < 0 {
			return s
		}
		rest = strings.TrimPrefix(strings.TrimLeft(rest[open+end:], " "), "const ")
		open = 0
	}
	if rest == "" {
		return s
	}
	before := strings.TrimRight(s[:at[0]], " ")
	if strings.HasSuffix(before, ":") {
		before += " "
	}
	return before + rest
}

// closing is the length of the text in brackets that s begins with; -1 when they never close.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(', '[':
			depth++
		case ')', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// fail is an error of this package itself.
func fail(op, format string, args ...any) error {
	return fmt.Errorf("ort: %s: %w", op, fmt.Errorf(format, args...))
}
