package ort

// #include "table.h"
import "C"

import (
	"context"
	"sync"
	"unsafe"
)

// Session is a graph, ready to run. Implements: OrtSession.
type Session struct {
	life
	env                         *Env
	ptr                         *C.OrtSession
	name                        string // of the file, for messages
	inputs, outputs, overridden []TensorInfo
	runs                        runs
	domain                      *C.OrtCustomOpDomain
	thread                      *thread // that runs happen on; nil: the caller's
}

// OpenSession loads a graph from a file; external data is looked for beside it.
func (e *Env) OpenSession(path string, o SessionOptions) (*Session, error) {
	return e.OpenSessionContext(context.Background(), path, o)
}

// OpenSessionContext is OpenSession that the context can cancel; the error then is the context's. Implements: OrtApi::CreateSession.
func (e *Env) OpenSessionContext(ctx context.Context, path string, o SessionOptions) (*Session, error) {
	name, err := cString(path)
	if err != nil {
		return nil, fail("open session", "%w", err)
	}
	defer C.free(unsafe.Pointer(name))
	return e.openSession(ctx, path, o, func(options *C.OrtSessionOptions) C.ort_made {
		return C.ort_session_open(e.c, e.ptr, name, options)
	})
}

// OpenSessionBytes loads a graph from memory, which the runtime copies. Implements: OrtApi::CreateSessionFromArray.
func (e *Env) OpenSessionBytes(graph []byte, o SessionOptions) (*Session, error) {
	const keep = "session.use_ort_model_bytes_directly"
	if o.Config[keep] == "1" {
		return nil, fail("open session", "%s keeps a pointer into Go memory, open the file instead", keep)
	}
	if len(graph) == 0 {
		return nil, fail("open session", "the graph is empty")
	}
	return e.openSession(context.Background(), "from memory", o, func(options *C.OrtSessionOptions) C.ort_made {
		return C.ort_session_open_bytes(e.c, e.ptr, unsafe.Pointer(unsafe.SliceData(graph)), C.size_t(len(graph)), options)
	})
}

func (e *Env) openSession(ctx context.Context, name string, o SessionOptions, open func(*C.OrtSessionOptions) C.ort_made) (*Session, error) {
	released := func() {
		if o.Operators != nil && o.Operators.Released != nil {
			o.Operators.Released()
		}
	}
	if ctx.Err() != nil {
		released()
		return nil, fail("open session "+name, "%w", context.Cause(ctx))
	}
	if err := e.hold(); err != nil {
		released()
		return nil, fail("open session "+name, "%w", err)
	}
	s, err := e.loadSession(ctx, name, o, open)
	if err != nil {
		released()
		e.drop()
		return nil, err
	}
	s.begin(kindSession, func() {
		s.release()
		released()
		e.drop()
	})
	watch(s, &s.life, e.log)
	return s, nil
}

func (e *Env) loadSession(ctx context.Context, name string, o SessionOptions, open func(*C.OrtSessionOptions) C.ort_made) (*Session, error) {
	if o.HugePages {
		if err := e.huge.open(e); err != nil {
			return nil, err
		}
	}
	options, err := e.sessionOptions(o)
	if err != nil {
		return nil, err
	}
	defer options.close()
	if o.OneThread {
		e.captures.RLock()
		defer e.captures.RUnlock()
	}
	var made C.ort_made
	err = guarded(o.Providers, func() error {
		stop := options.cancelWith(ctx)
		made = open(options.ptr)
		stop()
		if err := e.check(made.status); err != nil {
			if err.Code == LoadCanceled {
				err.cause = context.Cause(ctx)
			}
			return err.in("open session %s", name)
		}
		return nil
	})
	if err != nil {
		options.releaseDomain()
		return nil, err
	}
	s := &Session{env: e, ptr: (*C.OrtSession)(made.ptr), name: name, domain: options.domain}
	s.runs.idle.L = &s.runs.mu
	if err := s.describe(); err != nil {
		s.release()
		return nil, err
	}
	if o.OneThread {
		s.thread = newThread()
	}
	return s, nil
}

// release frees the C objects, and then the thread that they were used on.
func (s *Session) release() {
	if s.thread != nil {
		s.env.captures.RLock()
		defer s.env.captures.RUnlock()
	}
	C.ort_session_release(s.env.c, s.ptr)
	s.thread.close()
	if s.domain != nil {
		C.ort_domain_release(s.env.c, s.domain)
	}
}

// cancelWith lets a context cancel the load that uses these options. The function it answers ends that, and must be called.
func (s *sessionOptions) cancelWith(ctx context.Context) (stop func()) {
	var cancelling sync.WaitGroup
	cancelling.Add(1)
	forget := context.AfterFunc(ctx, func() {
		defer cancelling.Done()
		s.check(C.ort_set_load_cancel(s.c, s.ptr, 1)) // a load that cannot be cancelled goes on to its end
	})
	return func() {
		if !forget() {
			cancelling.Wait()
		}
	}
}

// Inputs are the tensors that a run must be given. The slice belongs to the session.
func (s *Session) Inputs() []TensorInfo { return s.inputs }

// Outputs are the tensors that a run can make. The slice belongs to the session.
func (s *Session) Outputs() []TensorInfo { return s.outputs }

// Overridable are the weights that a run may be given as inputs. The slice belongs to the session.
func (s *Session) Overridable() []TensorInfo { return s.overridden }

// Close ends the runs that are under way and waits for them; the C object goes with the last call or value made from the session.
// The run options of a run that was ended stay terminated. It always answers nil.
func (s *Session) Close() error {
	s.runs.close()
	s.end()
	return nil
}
