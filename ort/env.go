package ort

// #include "log.h"
// #include "table.h"
import "C"

import (
	"fmt"
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/rs/zerolog"
)

// Options says which library to open and where its log goes.
type Options struct {
	Library string         // a file or a folder; "" searches, see Search
	Log     zerolog.Logger // the zero value is silent
}

// Env is the runtime's environment. There is one per process: opened in main, closed last. Implements: OrtEnv.
type Env struct {
	life
	table
	ptr      *C.OrtEnv
	memory   *C.OrtMemoryInfo // the CPU's
	strings  *C.OrtAllocator  // the runtime's own, never released
	library  string
	version  string
	log      zerolog.Logger
	huge     hugePages
	shares   shares
	plugins  plugins
	captures sync.RWMutex // of sessions with a thread of their own: a run that is recorded is alone
}

// Open opens the library and makes the environment. It can be opened again when it and everything made from it are closed.
// Implements: OrtApi::CreateEnvWithOptions.
func Open(o Options) (*Env, error) {
	process.Lock()
	defer process.Unlock()
	if old := process.env; old != nil {
		if old.ended() {
			return nil, fail("open", "the environment before is closed but in use: %s", Live())
		}
		return nil, fail("open", "an environment is open already, a process has one")
	}
	lib, err := openLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	e := &Env{table: lib.table, library: lib.path, version: lib.version, log: o.Log}
	sink := cgo.NewHandle(&e.log)
	if err := e.start(sink); err != nil {
		sink.Delete()
		return nil, err
	}
	e.begin(kindEnv, func() { e.stop(sink) })
	watch(e, &e.life, e.log)
	process.env = e
	return e, nil
}

func (e *Env) start(sink cgo.Handle) error {
	id := C.CString("shammah")
	defer C.free(unsafe.Pointer(id))
	made := C.log_env(e.c, C.int(severity(e.log)), id, C.uintptr_t(sink))
	if err := e.check(made.status); err != nil {
		return err.in("open environment of %s", e.library)
	}
	info := C.ort_cpu_memory_info(e.c)
	if err := e.check(info.status); err != nil {
		C.ort_env_release(e.c, made.env)
		return err.in("open environment: memory of the cpu")
	}
	strings := C.ort_default_allocator(e.c)
	if err := e.check(strings.status); err != nil {
		C.ort_memory_info_release(e.c, (*C.OrtMemoryInfo)(info.ptr))
		C.ort_env_release(e.c, made.env)
		return err.in("open environment: default allocator")
	}
	e.ptr, e.memory, e.strings = made.env, (*C.OrtMemoryInfo)(info.ptr), (*C.OrtAllocator)(strings.ptr)
	return nil
}

func (e *Env) stop(sink cgo.Handle) {
	e.huge.unregister(e)
	C.ort_env_release(e.c, e.ptr)
	e.huge.free()
	C.ort_memory_info_release(e.c, e.memory)
	sink.Delete()
	process.Lock()
	process.env = nil
	process.Unlock()
}

// Close refuses new work; the C object goes with the last handle made from it. It always answers nil.
func (e *Env) Close() error {
	e.end()
	return nil
}

// Version is the runtime's own, such as "1.32.0".
func (e *Env) Version() string { return e.version }

// Library is the path of the file that was opened.
func (e *Env) Library() string { return e.library }

// Providers names the execution providers that the library was built with; nil after Close. Implements: OrtApi::GetAvailableProviders.
func (e *Env) Providers() []string {
	if e.hold() != nil {
		return nil
	}
	defer e.drop()
	list := C.ort_providers(e.c)
	if e.check(list.status) != nil {
		return nil
	}
	defer C.ort_providers_release(e.c, list.list, list.n)
	return texts(list.list, list.n)
}

// texts copies a list of C strings.
func texts(list *unsafe.Pointer, n C.size_t) []string {
	out := make([]string, 0, n)
	for _, p := range unsafe.Slice(list, n) {
		out = append(out, C.GoString((*C.char)(p)))
	}
	return out
}

// String lists the kinds that are open, as in "session 1, value 2".
func (c Counts) String() string {
	s := ""
	for k, n := range []int64{c.Envs, c.Sessions, c.Buffers, c.Values, c.Calls, c.RunOptions, c.Adapters} {
		if n != 0 {
			s += fmt.Sprintf(", %s %d", kind(k), n)
		}
	}
	if s == "" {
		return "nothing open"
	}
	return s[2:]
}
