package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/kv"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// runner feeds tokens to a session for rows sequences at once, over one cache. Everything that a step needs is made once:
// a one-token step copies the ids, lengthens the mask by a new small value, and runs in place. It is not safe for concurrent use.
type runner struct {
	spec     *model.Spec
	env      *ort.Env
	session  *ort.Session
	call     *ort.Call
	cache    *kv.Cache // nil for graphs without one
	rows     int
	capacity int
	chunk    int // tokens of one prefill run

	cancel *ort.RunOptions // of the request that runs now

	small     *ort.Buffer // memory of the values below
	ids       *ort.Value  // (rows, n) int64
	mask      *ort.Value  // (rows, length + n) int64, nil when the graph has none
	positions *ort.Value  // (rows, n) int64, nil when the graph has none
	extra     []*ort.Value
	wanted    []int64     // one element: which of the run's tokens gets logits, nil where the graph does not ask
	branch    []bool      // one element: whether a merged graph takes its cached branch
	wide      *ort.Buffer // logits of more than one token a row
	last      *ort.Value  // (rows, 1, vocab): logits of each row's last token
	logits    []sample.Logits

	held    []int32 // the single row's tokens
	lengths []int   // tokens that each row holds
	pads    []int   // masked places before each row's first token
	at      slots
}

// slots says which place in the call each tensor has; -1 for tensors that the graph does not have.
type slots struct{ ids, mask, positions, past, logits, present int }

func newRunner(m *Model, rows int, cache *kv.Cache) (*runner, error) {
	r := &runner{
		spec: m.spec, env: m.env, session: m.session, cache: cache, rows: rows, capacity: m.context, chunk: m.chunk,
		lengths: make([]int, rows), pads: make([]int, rows), held: make([]int32, 0, m.context),
	}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *runner) open() error {
	if err := r.prepareCall(); err != nil {
		return err
	}
	n := r.chunk
	if r.cache == nil {
		n = r.capacity // every run starts from the first token
	}
	const word = 8
	tokens, marks := r.rows*n*word, r.rows*r.capacity*word
	var err error
	if r.small, err = r.env.NewBuffer(2*tokens + marks); err != nil {
		return err
	}
	if r.ids, err = r.small.Tensor(ort.Int64, 0, int64(r.rows), int64(n)); err != nil {
		return err
	}
	if r.spec.Positions != "" {
		if r.positions, err = r.small.Tensor(ort.Int64, tokens, int64(r.rows), int64(n)); err != nil {
			return err
		}
	}
	if r.spec.Mask != "" {
		if r.mask, err = r.small.Tensor(ort.Int64, 2*tokens, int64(r.rows), int64(r.capacity)); err != nil {
			return err
		}
		marks := ort.View[int64](r.mask)
		for i := range marks {
			marks[i] = 1
		}
	}
	return r.openLogits()
}

// prepareCall lists the tensors of a run and binds those that never change.
func (r *runner) prepareCall() error {
	s := r.spec
	inputs, outputs := []string{s.InputIDs}, []string{s.Logits}
	place := func(names *[]string, name string) int {
		if name == "" {
			return -1
		}
		*names = append(*names, name)
		return len(*names) - 1
	}
	r.at = slots{mask: place(&inputs, s.Mask), positions: place(&inputs, s.Positions)}
	constants := map[int]*ort.Value{}
	if i := place(&inputs, s.NumLogits); i >= 0 {
		v, err := r.env.NewTensor(ort.Int64, s.NumLogitsShape...)
		if err != nil {
			return err
		}
		r.extra, constants[i] = append(r.extra, v), v
		ort.View[int64](v)[0] = 1
	}
	if i := place(&inputs, s.LogitsRows); i >= 0 {
		v, err := r.env.NewTensor(ort.Int64, 1)
		if err != nil {
			return err
		}
		r.extra, constants[i] = append(r.extra, v), v
		r.wanted = ort.View[int64](v)
	}
	if i := place(&inputs, s.UseCacheBranch); i >= 0 {
		v, err := r.env.NewTensor(ort.Bool, 1)
		if err != nil {
			return err
		}
		r.extra, constants[i] = append(r.extra, v), v
		r.branch = ort.View[bool](v)
	}
	r.at.past, r.at.present = len(inputs), len(outputs)
	if r.cache != nil {
		for i := range s.Past {
			inputs, outputs = append(inputs, s.Past[i].Key), append(outputs, s.Present[i].Key)
			if !s.Combined {
				inputs, outputs = append(inputs, s.Past[i].Value), append(outputs, s.Present[i].Value)
			}
		}
	}
	var err error
	if r.call, err = r.session.NewCall(inputs, outputs); err != nil {
		return err
	}
	for i, v := range constants {
		r.call.SetInput(i, v)
	}
	r.bindCache()
	return nil
}

// bindCache points the call at the values that hold past and present now.
func (r *runner) bindCache() {
	if r.cache == nil {
		return
	}
	for i, v := range r.cache.Past() {
		r.call.SetInput(r.at.past+i, v)
	}
	for i, v := range r.cache.Present() {
		r.call.SetOutput(r.at.present+i, v)
	}
}

// openLogits makes the row that every step writes its logits into.
func (r *runner) openLogits() error {
	element := elementType(r.spec.LogitsType)
	var err error
	if r.last, err = r.env.NewTensor(element, int64(r.rows), 1, int64(r.spec.Vocab)); err != nil {
		return err
	}
	r.logits = make([]sample.Logits, r.rows)
	for i := range r.logits {
		from, to := i*r.spec.Vocab, (i+1)*r.spec.Vocab
		if element == ort.Float16 {
			r.logits[i].F16 = ort.View[uint16](r.last)[from:to]
		} else {
			r.logits[i].F32 = ort.View[float32](r.last)[from:to]
		}
	}
	return nil
}

// Capacity is the number of tokens that each row may hold.
func (r *runner) Capacity() int { return r.capacity }

// Held is the tokens of the single row.
func (r *runner) Held() []int32 { return r.held }

// Keep forgets every token of the single row from position n on.
func (r *runner) Keep(n int) error {
	if n < 0 || n > r.lengths[0] {
		return fmt.Errorf("engine: keep %d tokens: the sequence has %d", n, r.lengths[0])
	}
	if r.cache != nil {
		if err := r.cache.Keep(n); err != nil {
			return err
		}
	}
	r.lengths[0], r.held = n, r.held[:n]
	return nil
}

// Feed appends ids to the single row, in chunks so that it can be cancelled, and gives the logits of the last one.
func (r *runner) Feed(ctx context.Context, ids []int32) (sample.Logits, error) {
	if r.lengths[0]+len(ids) > r.capacity {
		return sample.Logits{}, fmt.Errorf("engine: feed %d tokens: %d of %d are taken", len(ids), r.lengths[0], r.capacity)
	}
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return sample.Logits{}, err
		}
		n := min(len(ids), r.chunk)
		if err := r.feedChunk(ids[:n]); err != nil {
			r.closeWide()
			return sample.Logits{}, cancelled(ctx, err)
		}
		ids = ids[n:]
	}
	r.closeWide()
	return r.logits[0], nil
}

// feedChunk runs one chunk of the single row.
func (r *runner) feedChunk(ids []int32) error {
	first, n := r.lengths[0], len(ids)
	start := first // where in the ids tensor the new ones go
	if r.cache != nil {
		start = 0
	}
	if err := r.ids.Reshape(1, int64(start+n)); err != nil {
		return err
	}
	into := ort.View[int64](r.ids)[start:]
	for i, id := range ids {
		into[i] = int64(id)
	}
	if r.positions != nil {
		if err := r.positions.Reshape(1, int64(start+n)); err != nil {
			return err
		}
		into := ort.View[int64](r.positions)[start:]
		for i := range ids {
			into[i] = int64(first + i)
		}
	}
	if r.mask != nil {
		if err := r.mask.Reshape(1, int64(first+n)); err != nil {
			return err
		}
	}
	if err := r.run(start+n, n); err != nil {
		return err
	}
	r.lengths[0] += n
	r.held = append(r.held, ids...)
	return nil
}

// run computes the n tokens a row that were laid out, added of them new, and leaves the logits of the last in r.last.
func (r *runner) run(n, added int) error {
	r.call.SetInput(r.at.ids, r.ids)
	if r.mask != nil {
		r.call.SetInput(r.at.mask, r.mask)
	}
	if r.positions != nil {
		r.call.SetInput(r.at.positions, r.positions)
	}
	if r.cache != nil {
		if err := r.cache.Prepare(added); err != nil {
			return err
		}
		if !r.spec.Shared {
			r.bindCache()
		}
	}
	if r.branch != nil {
		r.branch[0] = r.lengths[0] > 0
	}
	if r.wanted != nil {
		r.wanted[0] = int64(n - 1)
	}
	if n == 1 || r.spec.LastRowOnly || r.spec.NumLogits != "" || r.wanted != nil {
		r.call.SetOutput(r.at.logits, r.last)
		if err := r.call.Run(r.cancel); err != nil {
			return err
		}
	} else if err := r.runWide(n); err != nil {
		return err
	}
	if r.cache != nil {
		r.cache.Advance(added)
	}
	return nil
}

// runWide runs with logits for all n tokens of the single row, and copies the last ones to r.last.
func (r *runner) runWide(n int) error {
	element := elementType(r.spec.LogitsType)
	row := r.spec.Vocab * element.Size()
	if r.wide == nil {
		rows := r.chunk
		if r.cache == nil {
			rows = r.capacity
		}
		var err error
		if r.wide, err = r.env.NewBuffer(rows * row); err != nil {
			return err
		}
	}
	v, err := r.wide.Tensor(element, 0, 1, int64(n), int64(r.spec.Vocab))
	if err != nil {
		return err
	}
	r.call.SetOutput(r.at.logits, v)
	err = r.call.Run(r.cancel)
	if err == nil {
		copy(r.last.Bytes(), r.wide.Bytes()[(n-1)*row:n*row])
	}
	r.call.SetOutput(r.at.logits, r.last)
	return errors.Join(err, v.Close())
}

// closeWide gives the memory of a prompt's logits back. Graphs without a cache need it again at each step and keep it.
func (r *runner) closeWide() {
	if r.wide != nil && r.cache != nil {
		r.wide.Close()
		r.wide = nil
	}
}

// Close frees everything but the cache, which its opener closes. It may be called twice.
func (r *runner) Close() error {
	var errs []error
	if r.call != nil {
		errs = append(errs, r.call.Close())
	}
	for _, v := range append([]*ort.Value{r.ids, r.mask, r.positions, r.last}, r.extra...) {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	for _, b := range []*ort.Buffer{r.small, r.wide} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(errs...)
}

// elementType is the runtime's type for a checked Spec's type name.
func elementType(name string) ort.ElementType {
	if name == "float16" {
		return ort.Float16
	}
	return ort.Float32
}

// cancelled is ctx's own error when err only says that a run was ended because of it.
func cancelled(ctx context.Context, err error) error {
	if errors.Is(err, ort.ErrTerminated) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
