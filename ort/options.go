package ort

// #include "table.h"
import "C"

import (
	"maps"
	"runtime"
	"slices"
	"unsafe"
)

// Level is how far the runtime rewrites a graph before it runs.
type Level int

// The levels of GraphOptimizationLevel; the zero value is all of them.
const (
	OptimizeAll Level = iota
	OptimizeNone
	OptimizeBasic
	OptimizeExtended
	OptimizeLayout
)

// native is the number that the C API gives to a level.
func (l Level) native() C.int {
	return [...]C.int{OptimizeAll: C.ORT_ENABLE_ALL, OptimizeNone: C.ORT_DISABLE_ALL, OptimizeBasic: C.ORT_ENABLE_BASIC,
		OptimizeExtended: C.ORT_ENABLE_EXTENDED, OptimizeLayout: C.ORT_ENABLE_LAYOUT}[l]
}

// Provider is an execution provider as data. The CPU always comes last, named or not.
type Provider struct {
	Name      string            // as Env.Providers names it, with or without "ExecutionProvider"; "" is the CPU
	Options   map[string]string // the provider's own keys
	Libraries []Library         // opened first, for all to see: what the provider's library needs and cannot find itself
	Plugin    string            // the file of a plug-in library that brings the provider; "" is one that the runtime has
	Device    string            // of a plug-in, what it computes on: gpu, npu or cpu; "" is the first of these that it offers
}

// Library is a shared library that a provider needs.
type Library struct {
	Paths []string // tried in order; a name without a folder is the system loader's to find
	Hint  string   // what there is not, without it, and how to get it
}

// SessionOptions is how a session is made. The zero value runs on the CPU with one thread per processor of this process.
type SessionOptions struct {
	Threads         int               // of one operator; 0 is the number of processors that this process may use
	Spin            bool              // idle threads spin instead of sleeping: faster steps, a busy processor
	Optimization    Level             // how far the graph is rewritten first
	MemPattern      bool              // plan memory from the first shapes seen; of use only where shapes never change
	Arena           bool              // keep the memory of intermediate tensors for the next run
	Config          map[string]string // the runtime's own session keys, applied last
	Dimensions      map[string]int64  // symbolic dimensions fixed by name
	Providers       []Provider        // in order of preference
	RecordPlacement bool              // so that Session.Placement has an answer
	HugePages       bool              // packed weights in huge pages where the system has them; memory of a run without an arena
	OneThread       bool              // every run happens on one thread of the system, which the session owns
	Operators       *Operators        // that the graph uses beside the runtime's own
}

// spinUS is how long a thread spins when there is nothing to do: longer than the time between two steps, and nothing beside that between two
// requests.
const spinUS = "2000"

// configuration is every session key that the options ask for.
func (o SessionOptions) configuration() map[string]string {
	c := map[string]string{"session.intra_op.allow_spinning": "0"}
	if o.Spin {
		c["session.intra_op.allow_spinning"] = "1"
		c["session.intra_op.spin_duration_us"] = spinUS // known from 1.26 on; older libraries spin a little longer
	}
	if o.RecordPlacement {
		c["session.record_ep_graph_assignment_info"] = "1"
	}
	if o.HugePages {
		c["session.use_env_allocators"] = "1"
	}
	maps.Copy(c, o.Config)
	return c
}

// sessionOptions is the C object made from SessionOptions. Implements: OrtSessionOptions.
type sessionOptions struct {
	table
	env    *Env
	ptr    *C.OrtSessionOptions
	domain *C.OrtCustomOpDomain // must outlive the session; nil without operators
}

func (e *Env) sessionOptions(o SessionOptions) (*sessionOptions, error) {
	if o.Threads < 0 {
		return nil, fail("session options", "%d threads; 0 takes the number of processors", o.Threads)
	}
	if o.Optimization < 0 || o.Optimization > OptimizeLayout {
		return nil, fail("session options", "unknown optimization level %d", o.Optimization)
	}
	made := C.ort_session_options(e.c)
	if err := e.check(made.status); err != nil {
		return nil, err.in("session options")
	}
	s := &sessionOptions{table: e.table, env: e, ptr: (*C.OrtSessionOptions)(made.ptr)}
	for _, step := range []func(SessionOptions) error{s.plain, s.config, s.dimensions, s.providers, s.operators} {
		if err := step(o); err != nil {
			s.close()
			s.releaseDomain()
			return nil, err
		}
	}
	return s, nil
}

func (s *sessionOptions) close() { C.ort_session_options_release(s.c, s.ptr) }

func (s *sessionOptions) plain(o SessionOptions) error {
	threads := o.Threads
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	for _, status := range []*C.OrtStatus{
		C.ort_set_intra_threads(s.c, s.ptr, C.int(threads)),
		C.ort_set_inter_threads(s.c, s.ptr, 1),
		C.ort_set_sequential(s.c, s.ptr),
		C.ort_set_level(s.c, s.ptr, o.Optimization.native()),
		C.ort_set_mem_pattern(s.c, s.ptr, flag(o.MemPattern)),
		C.ort_set_arena(s.c, s.ptr, flag(o.Arena)),
	} {
		if err := s.check(status); err != nil {
			return err.in("session options")
		}
	}
	return nil
}

func (s *sessionOptions) config(o SessionOptions) error {
	entries := o.configuration()
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		pair, err := cStrings(key, entries[key])
		if err != nil {
			return fail("session option "+key, "%w", err)
		}
		err2 := s.check(C.ort_set_config(s.c, s.ptr, pair.at(0), pair.at(1)))
		pair.free()
		if err2 != nil {
			return err2.in("session option %s=%s", key, entries[key])
		}
	}
	return nil
}

func (s *sessionOptions) dimensions(o SessionOptions) error {
	for name, n := range o.Dimensions {
		c, err := cString(name)
		if err != nil {
			return fail("session options: dimension", "%w", err)
		}
		err2 := s.check(C.ort_set_dimension(s.c, s.ptr, c, C.int64_t(n)))
		C.free(unsafe.Pointer(c))
		if err2 != nil {
			return err2.in("session options: dimension %s=%d", name, n)
		}
	}
	return nil
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

// stringList is a list of C strings in C memory.
type stringList []*C.char

// cStrings copies texts to C; the caller frees them.
func cStrings(texts ...string) (stringList, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	block := (**C.char)(C.calloc(C.size_t(len(texts)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	list := stringList(unsafe.Slice(block, len(texts)))
	for i, text := range texts {
		c, err := cString(text)
		if err != nil {
			list.free()
			return nil, err
		}
		list[i] = c
	}
	return list, nil
}

func (l stringList) at(i int) *C.char { return l[i] }

func (l stringList) list() **C.char { return unsafe.SliceData(l) }

func (l stringList) free() {
	for _, c := range l {
		C.free(unsafe.Pointer(c))
	}
	C.free(unsafe.Pointer(l.list()))
}
