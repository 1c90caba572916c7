package ort

// #cgo noescape ort_run_options_terminate
// #cgo nocallback ort_run_options_terminate
// #include "table.h"
import "C"

import (
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"
)

// RunOptions belong to one request: they can end its runs, and say which adapters are active. Implements: OrtRunOptions.
type RunOptions struct {
	life
	env        *Env
	ptr        *C.OrtRunOptions
	terminated atomic.Bool
	unrecorded atomic.Bool  // the next run is recorded
	settings   sync.RWMutex // a run reads them to its end
	adapters   []*Adapter   // held until the options go
}

// NewRunOptions makes options with nothing set. Implements: OrtApi::CreateRunOptions.
func (e *Env) NewRunOptions() (*RunOptions, error) {
	if err := e.hold(); err != nil {
		return nil, fail("new run options", "%w", err)
	}
	made := C.ort_run_options(e.c)
	if err := e.check(made.status); err != nil {
		e.drop()
		return nil, err.in("new run options")
	}
	r := &RunOptions{env: e, ptr: (*C.OrtRunOptions)(made.ptr)}
	r.begin(kindRunOptions, func() {
		C.ort_run_options_release(e.c, r.ptr)
		for _, a := range r.adapters {
			a.drop()
		}
		e.drop()
	})
	watch(r, &r.life, e.log)
	return r, nil
}

// Terminate ends the runs under way with these options between two nodes, and every later one at its start, until Resume.
// It may be called from any goroutine, and does nothing after Close. Implements: OrtApi::RunOptionsSetTerminate.
func (r *RunOptions) Terminate() {
	if r.hold() != nil {
		return
	}
	defer r.drop()
	r.terminate()
}

// terminate is Terminate for who holds the options, closed or not.
func (r *RunOptions) terminate() {
	r.terminated.Store(true)
	r.env.check(C.ort_run_options_terminate(r.env.c, r.ptr)) // sets a flag, cannot fail
}

// Terminated says whether runs with these options are refused.
func (r *RunOptions) Terminated() bool { return r.terminated.Load() }

// Resume lets runs begin again after Terminate. Implements: OrtApi::RunOptionsUnsetTerminate.
func (r *RunOptions) Resume() error {
	return r.change("resume run options", func() *Error {
		r.terminated.Store(false)
		return r.env.check(C.ort_run_options_resume(r.env.c, r.ptr))
	})
}

// SetConfig sets one of the runtime's own run keys. Implements: OrtApi::AddRunConfigEntry.
func (r *RunOptions) SetConfig(key, value string) error {
	pair, err := cStrings(key, value)
	if err != nil {
		return fail("run option "+key, "%w", err)
	}
	defer pair.free()
	return r.change("run option "+key, func() *Error {
		return r.env.check(C.ort_run_options_config(r.env.c, r.ptr, pair.at(0), pair.at(1)))
	})
}

// Config is what a run key was set to, "" if it was not. Implements: OrtApi::GetRunConfigEntry.
func (r *RunOptions) Config(key string) (value string, err error) {
	name, err := cString(key)
	if err != nil {
		return "", fail("run option "+key, "%w", err)
	}
	defer C.free(unsafe.Pointer(name))
	err = r.change("run option "+key, func() *Error {
		value = C.GoString(C.ort_run_options_entry(r.env.c, r.ptr, name))
		return nil
	})
	return value, err
}

// RunGraph is the run key with the number of a recording, -1 for none.
const RunGraph = C.ORT_RUN_GRAPH

// Record lets a provider that was told to (CUDA's enable_cuda_graph) record the first run with these options under this number, from 0, and replay it at
// every later one: without looking at names, shapes or values, so that all tensors must lie in its device's memory and stay where they are.
// Both must happen on one thread: see SessionOptions.OneThread. Without it no run is recorded.
func (r *RunOptions) Record(graph int) error {
	if graph < 0 {
		return fail("record a run", "its number is %d, expected 0 or more", graph)
	}
	err := r.SetConfig(RunGraph, strconv.Itoa(graph))
	r.unrecorded.Store(err == nil)
	return err
}

// AddAdapter makes an adapter active in the runs with these options, which hold it. Implements: OrtApi::RunOptionsAddActiveLoraAdapter.
func (r *RunOptions) AddAdapter(a *Adapter) error {
	if err := a.hold(); err != nil {
		return fail("add adapter "+a.path, "%w", err)
	}
	err := r.change("add adapter "+a.path, func() *Error {
		err := r.env.check(C.ort_run_options_adapter(r.env.c, r.ptr, a.ptr))
		if err == nil {
			r.adapters = append(r.adapters, a)
		}
		return err
	})
	if err != nil {
		a.drop()
	}
	return err
}

// change waits for the runs under way and calls f.
func (r *RunOptions) change(op string, f func() *Error) error {
	if err := r.hold(); err != nil {
		return fail(op, "%w", err)
	}
	defer r.drop()
	r.settings.Lock()
	defer r.settings.Unlock()
	if err := f(); err != nil {
		return err.in("%s", op)
	}
	return nil
}

// Close releases the options, and the adapters that they hold, when the runs under way have ended. It always answers nil.
func (r *RunOptions) Close() error {
	r.end()
	return nil
}
