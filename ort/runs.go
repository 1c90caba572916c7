package ort

import "sync"

// runs are the runs of one session that are under way, so that Close can end them.
type runs struct {
	mu     sync.Mutex
	idle   sync.Cond // a run has ended
	list   []run
	closed bool
}

type run struct {
	call    *Call
	options *RunOptions // held by the run
}

// begin lists a run, unless its session or its call has been closed.
func (r *runs) begin(c *Call, ro *RunOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || c.stopped {
		return ErrClosed
	}
	r.list = append(r.list, run{c, ro})
	return nil
}

func (r *runs) done(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].call == c {
			last := len(r.list) - 1
			r.list[i] = r.list[last]
			r.list[last] = run{}
			r.list = r.list[:last]
			break
		}
	}
	r.idle.Broadcast()
}

// close refuses new runs, ends those under way and waits for them.
func (r *runs) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, x := range r.list {
		x.options.terminate()
	}
	for len(r.list) > 0 {
		r.idle.Wait()
	}
}

// stop refuses new runs of one call and ends the one under way.
func (r *runs) stop(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.stopped = true
	for _, x := range r.list {
		if x.call == c {
			x.options.terminate()
		}
	}
}
