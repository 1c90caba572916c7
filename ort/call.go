package ort

// #include "table.h"
import "C"

import (
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// Call is a run prepared once: names and value pointers lie in C memory, so that a step allocates nothing in Go. Its methods take turns.
type Call struct {
	life
	session *Session
	own     *RunOptions // for runs that are given none, so that Close can end them
	stopped bool        // guarded by session.runs.mu

	mu     sync.Mutex // of a turn; guards what follows
	c      *C.ort_call
	slots  []*C.OrtValue // c.values, inputs first
	values []*Value      // what was set; nil outputs are the runtime's to make
	inputs int
	names  []string
}

// NewCall prepares runs with these inputs (or overridable weights) and outputs. It holds the session.
func (s *Session) NewCall(inputs, outputs []string) (*Call, error) {
	if err := s.known(inputs, outputs); err != nil {
		return nil, err
	}
	if err := s.hold(); err != nil {
		return nil, fail("new call", "%w", err)
	}
	own, err := s.env.NewRunOptions()
	if err != nil {
		s.drop()
		return nil, err
	}
	c := &Call{session: s, own: own, inputs: len(inputs), names: slices.Concat(inputs, outputs)}
	if c.c = C.ort_call_new(C.size_t(len(inputs)), C.size_t(len(outputs))); c.c == nil {
		own.Close()
		s.drop()
		return nil, fail("new call", "no memory for %d names", len(c.names))
	}
	c.slots, c.values = unsafe.Slice(c.c.values, len(c.names)), make([]*Value, len(c.names))
	names := unsafe.Slice(c.c.names, len(c.names))
	for i, name := range c.names {
		names[i] = C.CString(name)
	}
	c.begin(kindCall, func() {
		c.clear()
		C.ort_call_free(c.c)
		own.Close()
		s.drop()
	})
	watch(c, &c.life, s.env.log)
	return c, nil
}

// known checks names against what the session declares.
func (s *Session) known(inputs, outputs []string) error {
	check := func(what string, names []string, declared ...TensorInfo) error {
		for i, name := range names {
			if !slices.ContainsFunc(declared, func(t TensorInfo) bool { return t.Name == name }) {
				have := make([]string, len(declared))
				for i, t := range declared {
					have[i] = t.Name
				}
				return fail("new call", "%s has no %s %q, it has %s", s.name, what, name, strings.Join(have, ", "))
			}
			if slices.Contains(names[:i], name) {
				return fail("new call", "%s %q is named twice", what, name)
			}
		}
		return nil
	}
	if len(outputs) == 0 {
		return fail("new call", "no outputs are asked for")
	}
	if err := check("input", inputs, slices.Concat(s.inputs, s.overridden)...); err != nil {
		return err
	}
	return check("output", outputs, s.outputs...)
}

// SetInput sets the value of the input at i of NewCall's list. The call does not own it; one that is closed fails the next Run.
func (c *Call) SetInput(i int, v *Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[:c.inputs][i] = v
}

// SetOutput sets where the run writes the output at i of NewCall's list: the shape must be exactly the one that results.
// Nil lets the runtime make the value, for Output to take.
func (c *Call) SetOutput(i int, v *Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[c.inputs:][i] = v
}

// Run computes. Ro may be nil. Implements: OrtApi::Run.
func (c *Call) Run(ro *RunOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ro == nil {
		ro = c.own
	}
	if err := ro.hold(); err != nil {
		return fail("run "+c.session.name+": run options", "%w", err)
	}
	defer ro.drop()
	if err := c.session.runs.begin(c, ro); err != nil {
		return fail("run "+c.session.name, "%w", err)
	}
	defer c.session.runs.done(c)
	if ro.terminated.Load() {
		return &Error{Op: "run " + c.session.name, Code: Fail, Msg: "terminated before it began", cause: ErrTerminated}
	}
	ro.settings.RLock()
	defer ro.settings.RUnlock()
	c.clear()
	held, err := c.fill()
	if err == nil {
		err = c.run(ro)
	}
	for i, v := range c.values[:held] {
		if v != nil {
			v.drop()
			c.slots[i] = nil
		}
	}
	return err
}

func (c *Call) run(ro *RunOptions) error {
	var status *C.OrtStatus
	if t := c.session.thread; t != nil {
		status = c.runOn(t, ro)
	} else {
		status = C.ort_call_run(c.session.env.c, c.session.ptr, ro.ptr, c.c)
	}
	err := c.session.env.check(status)
	if err == nil {
		return nil
	}
	if ro.terminated.Load() {
		err.cause = ErrTerminated
	}
	return err.in("run %s", c.session.name)
}

// fill takes every value for the length of a run; held is how many it looked at.
func (c *Call) fill() (held int, err error) {
	for i, v := range c.values {
		if v == nil {
			if i < c.inputs {
				return i, fail("run "+c.session.name, "input %s is not set", c.names[i])
			}
			continue
		}
		p, err := v.take()
		if err != nil {
			return i, fail("run "+c.session.name, "value of %s: %w", c.names[i], err)
		}
		c.slots[i] = p
	}
	return len(c.values), nil
}

// clear releases what the runtime made and nobody took.
func (c *Call) clear() {
	for i, p := range c.slots {
		if p != nil {
			C.ort_value_release(c.session.env.c, p)
			c.slots[i] = nil
		}
	}
}

// Output takes over what the last Run made for the output at i; the caller closes it. It holds the session.
// Implements: OrtApi::GetTensorElementTypeAndShapeDataReference.
func (c *Call) Output(i int) (*Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, e := c.names[c.inputs:][i], c.session.env
	slot := &c.slots[c.inputs:][i]
	if c.ended() {
		return nil, fail("output "+name, "%w", ErrClosed)
	}
	if *slot == nil {
		return nil, fail("output "+name, "the runtime made none: it was set by the caller, taken before, or there was no run")
	}
	if kind := C.ort_value_kind(e.c, *slot); kind.status != nil || kind.n != C.ONNX_TYPE_TENSOR {
		e.check(kind.status)
		return nil, fail("output "+name, "not a tensor")
	}
	look := C.ort_tensor_look(e.c, *slot)
	if err := e.check(look.status); err != nil {
		return nil, err.in("output %s", name)
	}
	if err := c.session.hold(); err != nil {
		return nil, fail("output "+name, "%w", err)
	}
	v := &Value{env: e, ptr: *slot, element: ElementType(look.element), memory: e.memory, data: look.data, bytes: int(look.bytes), room: int(look.bytes)}
	v.shape = slices.Clone(unsafe.Slice((*int64)(unsafe.Pointer(look.shape)), int(look.rank)))
	*slot = nil
	v.begin(kindValue, func() {
		C.ort_value_release(e.c, v.ptr)
		c.session.drop()
	})
	watch(v, &v.life, e.log)
	return v, nil
}

// Close ends a run that is under way and waits for it. It always answers nil.
func (c *Call) Close() error {
	c.session.runs.stop(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	return nil
}
