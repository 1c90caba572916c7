// Package ort is ONNX Runtime's C API as safe Go handles. It opens the library at run time and knows nothing of language models.
//
// # Lifetimes
//
// Env, Session, Buffer, Value, Call, RunOptions and Adapter are handles: each owns one C object and has an idempotent Close.
//
//   - Use after Close answers [ErrClosed] (or nothing, where a method has no error) and never reaches C.
//   - A handle holds the ones it was made from. Closing those first is allowed: they refuse new work at once, and their C objects go
//     when the last handle made from them is closed.
//   - Close of a Session or a Call ends its runs that are under way (they answer [ErrTerminated]) and waits for them.
//     Close of anything else that a run uses takes effect when that run ends.
//   - Nothing is freed by the garbage collector. Under the build tag "invariants" a handle that was lost without Close is reported in the
//     log with the stack that opened it, and [Live] counts what is open.
//
// # Memory
//
// What the runtime keeps after a call returns lies outside of Go's heap: buffers of [Env.NewBuffer], the names and pointers of a [Call].
// A slice seen through [View] or [Buffer.Bytes] is valid until the Close of its Value or Buffer.
//
// # Concurrency
//
// All handles are safe for concurrent use. Runs of different Calls on one Session go side by side; the methods of one Call take turns.
package ort

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I${SRCDIR}/../build/include
#cgo linux LDFLAGS: -ldl
*/
import "C"
