package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shammah/shammah-engine/engine/decode"
	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/kv"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// rowsMax is how many tokens FeedRows takes at once.
const rowsMax = decode.RowsMax

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
	trial    *trial
	places   *places
	adapters []adapted // of each row; none: no row has any

	cancel *ort.RunOptions // of the request that runs now

	small     *ort.Buffer // memory of the values below
	ids       *ort.Value  // (rows, n) int64
	mask      *ort.Value  // (rows, length + n) int64, nil when the graph has none
	positions *ort.Value  // (rows, n) int64, nil when the graph has none
	extra     []*ort.Value
	wanted    *ort.Value // (n) int64: which of the run's tokens get logits, nil where the graph does not ask
	keep      []int64    // one element: how many of the run's last tokens get logits, nil where the graph does not ask
	branch    []bool     // one element: whether a merged graph takes its cached branch
	recording *recording // of one-token steps, nil: none
	top       *top       // nil where the graph gives whole rows alone
	wide      *ort.Value // (1, n, vocab): logits of several tokens of the single row, nil until they are needed
	last      *ort.Value // (rows, 1, vocab): logits of each row's last token
	logits    []sample.Logits
	shown     []sample.Logits // what FeedRows gave

	held    []int32 // the single row's tokens
	lengths []int   // tokens that each row holds
	pads    []int   // masked places before each row's first token
	at      slots
}

// slots says which place in the call each tensor has; -1 for tensors that the graph does not have.
type slots struct{ ids, mask, positions, past, logits, present int }

func newRunner(m *Model, rows int, cache *kv.Cache) (*runner, error) {
	r := &runner{
		spec: m.spec, env: m.env, session: m.session, cache: cache, rows: rows, capacity: m.context, chunk: m.chunk, places: m.places,
		lengths: make([]int, rows), pads: make([]int, rows), held: make([]int32, 0, m.context),
	}
	if err := r.open(m); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *runner) open(m *Model) error {
	if err := r.prepareCall(m); err != nil {
		return err
	}
	n := max(r.chunk, rowsMax)
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
func (r *runner) prepareCall(m *Model) error {
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
		r.keep = ort.View[int64](v)
	}
	if i := place(&inputs, s.LogitsRows); i >= 0 {
		v, err := r.env.NewTensor(ort.Int64, rowsMax)
		if err != nil {
			return err
		}
		r.extra, constants[i] = append(r.extra, v), v
		r.wanted = v
	}
	if i := place(&inputs, s.UseCacheBranch); i >= 0 {
		v, err := r.env.NewTensor(ort.Bool, 1)
		if err != nil {
			return err
		}
		r.extra, constants[i] = append(r.extra, v), v
		r.branch = ort.View[bool](v)
	}
	var scale *ort.Value
	if m.topped != nil {
		v, err := r.env.NewTensor(ort.Float32, int64(r.rows), 1)
		if err != nil {
			return err
		}
		r.extra, constants[place(&inputs, derive.TopScale)], scale = append(r.extra, v), v, v
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
	if scale != nil && (m.runner == nil || r.cache != nil && r.cache.Device() != "") { // the model's own, and a batch's once it is there
		if err := r.openTop(m, scale, inputs, outputs[r.at.present:]); err != nil {
			return err
		}
	}
	for i, v := range constants {
		r.setInput(i, v)
	}
	r.bindCache()
	return nil
}

// setInput sets an input of every run.
func (r *runner) setInput(i int, v *ort.Value) {
	r.call.SetInput(i, v)
	if r.top != nil {
		r.top.call.SetInput(i, v)
	}
}

// bindCache points the call at the values that hold past and present now.
func (r *runner) bindCache() {
	if r.cache == nil {
		return
	}
	for i, v := range r.cache.Past() {
		r.setInput(r.at.past+i, v)
	}
	for i, v := range r.cache.Present() {
		r.call.SetOutput(r.at.present+i, v)
		if r.top != nil {
			r.top.call.SetOutput(r.top.present+i, v)
		}
	}
}

// openLogits makes the row that every step writes its logits into.
func (r *runner) openLogits() (err error) {
	if r.last, err = r.env.NewTensor(elementType(r.spec.LogitsType), int64(r.rows), 1, int64(r.spec.Vocab)); err != nil {
		return err
	}
	r.logits = appendRows(nil, r.last, r.spec.Vocab)
	return nil
}

// appendRows appends a view of each row of v, (..., vocab).
func appendRows(list []sample.Logits, v *ort.Value, vocab int) []sample.Logits {
	if v.Type() == ort.Float16 {
		for row := range slices.Chunk(ort.View[uint16](v), vocab) {
			list = append(list, sample.Logits{F16: row})
		}
		return list
	}
	for row := range slices.Chunk(ort.View[float32](v), vocab) {
		list = append(list, sample.Logits{F32: row})
	}
	return list
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

// adopt makes ids the tokens of the single row, whose keys and values the cache was given.
func (r *runner) adopt(ids []int32) {
	r.lengths[0], r.held = len(ids), append(r.held[:0], ids...)
}

// Feed appends ids to the single row, in chunks so that it can be cancelled, and gives the logits of the last one: all, or after few the largest.
func (r *runner) Feed(ctx context.Context, ids []int32) (sample.Logits, error) {
	if err := r.fits(ids); err != nil {
		return sample.Logits{}, err
	}
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			r.trial = r.trial.ran(err)
			return sample.Logits{}, err
		}
		n := r.trial.next(len(ids), r.chunk)
		err := r.feedChunk(ids[:n], 1)
		if r.trial = r.trial.ran(err); err != nil {
			r.closeWide()
			return sample.Logits{}, cancelled(ctx, err)
		}
		ids = ids[n:]
	}
	r.closeWide()
	return r.chosen()[0], nil
}

// FeedRows appends ids, at most rowsMax, to the single row and gives the logits of each, valid until the next Feed or FeedRows: in one run,
// or token by token where the graph gives those of the last token only. After an error the row may hold some of them.
func (r *runner) FeedRows(ctx context.Context, ids []int32) ([]sample.Logits, error) {
	if r.top != nil && r.top.on {
		panic("BUG: logits of several rows were asked for while a device chooses from the last one's")
	}
	if n := len(ids); n == 0 || n > rowsMax {
		return nil, fmt.Errorf("engine: feed %d tokens with logits for each: expected 1 to %d", n, rowsMax)
	}
	if err := r.fits(ids); err != nil {
		return nil, err
	}
	if r.spec.LastRowOnly {
		return r.feedEach(ctx, ids)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.feedChunk(ids, len(ids)); err != nil {
		return nil, cancelled(ctx, err)
	}
	if len(ids) == 1 {
		return r.logits, nil
	}
	r.shown = appendRows(r.shown[:0], r.wide, r.spec.Vocab)
	return r.shown[len(r.shown)-len(ids):], nil
}

// feedEach is FeedRows, token by token.
func (r *runner) feedEach(ctx context.Context, ids []int32) ([]sample.Logits, error) {
	if err := r.openWide(len(ids)); err != nil {
		return nil, err
	}
	row := len(r.last.Bytes())
	for i := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.feedChunk(ids[i:i+1], 1); err != nil {
			return nil, cancelled(ctx, err)
		}
		copy(r.wide.Bytes()[i*row:], r.last.Bytes())
	}
	r.shown = appendRows(r.shown[:0], r.wide, r.spec.Vocab)
	return r.shown, nil
}

// fits says whether the single row has room for ids.
func (r *runner) fits(ids []int32) error {
	if r.lengths[0]+len(ids) > r.capacity {
		return fmt.Errorf("engine: feed %d tokens: %d of %d are taken", len(ids), r.lengths[0], r.capacity)
	}
	return nil
}

// feedChunk runs one chunk of the single row, with logits for the last rows of its tokens.
func (r *runner) feedChunk(ids []int32, rows int) error {
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
	if err := r.run(start+n, n, rows); err != nil {
		return err
	}
	r.lengths[0] += n
	r.held = append(r.held, ids...)
	return nil
}

// run computes the n tokens a row that were laid out, added of them new, and leaves the logits of the last in r.last, or those of the last
// rows at the end of r.wide.
func (r *runner) run(n, added, rows int) error {
	if err := r.places.use(r.adapters); err != nil {
		return err
	}
	r.setInput(r.at.ids, r.ids)
	if r.mask != nil {
		r.setInput(r.at.mask, r.mask)
	}
	if r.positions != nil {
		r.setInput(r.at.positions, r.positions)
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
	if err := r.runLogits(n, rows); err != nil {
		return err
	}
	if r.cache != nil {
		r.cache.Advance(added)
	}
	return nil
}

// runLogits asks for the logits of the last rows of n tokens and runs. A graph that cannot be asked gives all n.
func (r *runner) runLogits(n, rows int) error {
	if r.top != nil && r.top.on {
		if r.keep != nil {
			r.keep[0] = 1
		}
		if r.recording.used(n) {
			return r.recording.run(r.cancel)
		}
		return r.top.run(r.cancel)
	}
	given := rows
	switch {
	case r.wanted != nil:
		if err := r.wanted.Reshape(int64(rows)); err != nil {
			return err
		}
		for i, wanted := 0, ort.View[int64](r.wanted); i < rows; i++ {
			wanted[i] = int64(n - rows + i)
		}
	case r.keep != nil:
		r.keep[0] = int64(rows)
	case !r.spec.LastRowOnly:
		given = n
	}
	if given == 1 {
		r.call.SetOutput(r.at.logits, r.last)
		return r.call.Run(r.cancel)
	}
	if err := r.openWide(given); err != nil {
		return err
	}
	r.call.SetOutput(r.at.logits, r.wide)
	err := r.call.Run(r.cancel)
	if err == nil && rows == 1 {
		all := r.wide.Bytes()
		copy(r.last.Bytes(), all[len(all)-len(r.last.Bytes()):])
	}
	return err
}

// openWide makes room for the logits of n tokens of the single row.
func (r *runner) openWide(n int) (err error) {
	if r.wide == nil {
		most := rowsMax
		if r.wanted == nil && r.keep == nil && !r.spec.LastRowOnly {
			if most = max(r.chunk, rowsMax); r.cache == nil {
				most = max(r.capacity, rowsMax)
			}
		}
		// Pages that no run writes to take no memory.
		if r.wide, err = r.env.NewTensor(elementType(r.spec.LogitsType), 1, int64(most), int64(r.spec.Vocab)); err != nil {
			return err
		}
	}
	return r.wide.Reshape(1, int64(n), int64(r.spec.Vocab))
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
	errs = append(errs, r.recording.Close())
	if r.top != nil {
		errs = append(errs, r.top.Close())
	}
	for _, v := range append([]*ort.Value{r.ids, r.mask, r.positions, r.wide, r.last}, r.extra...) {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	if r.small != nil {
		errs = append(errs, r.small.Close())
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
