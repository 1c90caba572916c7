package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/engine/kv"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// batchRunner decodes several sequences in one step. Every prompt is computed alone, so that each row is exactly its single run;
// then the rows step together, each at its own length.
type batchRunner struct {
	model  *Model
	rows   int
	sets   []adapted // adapters of each row
	params []sample.Params
	cancel *ort.RunOptions
	joint  *runner   // all rows in one step; nil when the layout cannot do that
	single []*runner // a runner a row instead: graphs without a cache, a mask or positions, or for one row only
	caches []*kv.Cache
	logits []sample.Logits
	copies []*ort.Value // prompts' logits of each row
}

func newBatchRunner(m *Model, sets []adapted, params []sample.Params, cancel *ort.RunOptions) *batchRunner {
	return &batchRunner{model: m, rows: len(sets), sets: sets, params: params, cancel: cancel}
}

// Capacity is the number of tokens that each row may hold.
func (b *batchRunner) Capacity() int { return b.model.context }

// Start computes every prompt.
func (b *batchRunner) Start(ctx context.Context, prompts [][]int32) ([]sample.Logits, error) {
	spec := b.model.spec
	if err := b.openCopies(); err != nil {
		return nil, err
	}
	var err error
	switch {
	case spec.Batch == 1:
		err = b.startSingle(ctx, prompts)
	case spec.Shared && spec.Mask != "":
		err = b.startShared(ctx, prompts)
	case len(spec.Past) > 0 && spec.Mask != "" && spec.Positions != "":
		err = b.startJoined(ctx, prompts)
	default:
		err = b.startSingle(ctx, prompts)
	}
	return b.logits, err
}

// openCopies makes a row of logits for every prompt.
func (b *batchRunner) openCopies() error {
	element := elementType(b.model.spec.LogitsType)
	for range b.rows {
		v, err := b.model.env.NewTensor(element, int64(b.model.spec.Vocab))
		if err != nil {
			return err
		}
		b.copies = append(b.copies, v)
		b.logits = appendRows(b.logits, v, b.model.spec.Vocab)
	}
	return nil
}

// prompt computes one prompt with r and keeps its logits.
func (b *batchRunner) prompt(ctx context.Context, r *runner, row int, ids []int32) error {
	r.cancel = b.cancel
	if err := r.adapt(b.sets[row]); err != nil {
		return err
	}
	if _, err := r.Feed(ctx, ids); err != nil {
		return err
	}
	copy(b.copies[row].Bytes(), r.last.Bytes())
	return nil
}

// openJoint makes the runner and the cache of all rows.
func (b *batchRunner) openJoint() error {
	cache, err := b.model.openCache(b.rows)
	if err != nil {
		return err
	}
	b.caches = append(b.caches, cache)
	if b.joint, err = newRunner(b.model, b.rows, cache); err != nil {
		return err
	}
	b.joint.cancel = b.cancel
	return b.joint.adapt(b.sets...)
}

// startShared computes each prompt straight into its row of the shared cache.
func (b *batchRunner) startShared(ctx context.Context, prompts [][]int32) error {
	if err := b.openJoint(); err != nil {
		return err
	}
	for i, ids := range prompts {
		row, err := b.joint.cache.Row(i)
		if err != nil {
			return err
		}
		r, err := newRunner(b.model, 1, row)
		if err == nil {
			err = errors.Join(b.prompt(ctx, r, i, ids), r.Close())
		}
		if err = errors.Join(err, row.Close()); err != nil {
			return err
		}
		b.joint.lengths[i] = len(ids)
	}
	if b.model.onDevice() {
		return b.toDevice()
	}
	return nil
}

// toDevice puts the cache of all rows where the steps are computed, once the prompts are in it: a step would copy it there and back. Where
// there is no room for it, it stays.
func (b *batchRunner) toDevice() error {
	there, err := b.model.openOn(b.model.device, b.rows)
	if err != nil {
		b.model.log.Info().Err(err).Msg("each step of the batch copies its cache to the device and back")
		return nil
	}
	b.caches = append(b.caches, there)
	if err := b.model.runner.recording.renew(); err != nil {
		return err
	}
	here := b.joint
	if err := there.Take(here.cache); err != nil {
		return err
	}
	if b.joint, err = newRunner(b.model, b.rows, there); err != nil {
		b.joint = here
		return err
	}
	b.joint.cancel = b.cancel
	if err := b.joint.adapt(b.sets...); err != nil {
		return errors.Join(err, here.Close())
	}
	copy(b.joint.lengths, here.lengths)
	b.joint.few(b.params...)
	return errors.Join(here.Close(), here.cache.Close())
}

// startJoined computes each prompt alone and copies its keys and values to the end of its row: shorter rows begin with masked places.
func (b *batchRunner) startJoined(ctx context.Context, prompts [][]int32) error {
	if err := b.openJoint(); err != nil {
		return err
	}
	cache, err := b.model.openCache(1)
	if err != nil {
		return err
	}
	b.caches = append(b.caches, cache)
	r, err := newRunner(b.model, 1, cache)
	if err != nil {
		return err
	}
	b.single = append(b.single, r)
	longest := 0
	for _, ids := range prompts {
		longest = max(longest, len(ids))
	}
	for i, ids := range prompts {
		if err := r.Keep(0); err != nil {
			return err
		}
		if err := b.prompt(ctx, r, i, ids); err != nil {
			return err
		}
		if err := b.joint.cache.Join(i, cache, longest); err != nil {
			return err
		}
		b.joint.lengths[i], b.joint.pads[i] = len(ids), longest-len(ids)
	}
	return nil
}

// startSingle gives every row a runner of its own.
func (b *batchRunner) startSingle(ctx context.Context, prompts [][]int32) error {
	for i, ids := range prompts {
		var cache *kv.Cache
		if len(b.model.spec.Past) > 0 {
			var err error
			if cache, err = b.model.openCache(1); err != nil {
				return err
			}
			b.caches = append(b.caches, cache)
		}
		r, err := newRunner(b.model, 1, cache)
		if err != nil {
			return err
		}
		b.single = append(b.single, r)
		if err := b.prompt(ctx, r, i, ids); err != nil {
			return err
		}
	}
	return nil
}

// Step appends one token to every row whose id is not -1.
func (b *batchRunner) Step(ctx context.Context, ids []int32) ([]sample.Logits, error) {
	if b.joint != nil {
		if err := b.joint.step(ids); err != nil {
			return nil, cancelled(ctx, err)
		}
		return b.joint.chosen(), nil
	}
	for i, id := range ids {
		if id < 0 {
			continue
		}
		if err := b.prompt(ctx, b.single[i], i, []int32{id}); err != nil {
			return nil, err
		}
	}
	return b.logits, nil
}

// step runs one token a row. An idle row, id -1, computes a token that is never kept: its length stays.
func (r *runner) step(ids []int32) error {
	if err := r.ids.Reshape(int64(r.rows), 1); err != nil {
		return err
	}
	width := 0
	into := ort.View[int64](r.ids)
	for i, id := range ids {
		into[i] = int64(max(id, 0))
		width = max(width, r.pads[i]+r.lengths[i]+1)
	}
	if !r.spec.Shared {
		width = r.cache.Length() + 1
	}
	if width > r.capacity {
		return fmt.Errorf("engine: step %d rows: the context of %d tokens is full", r.rows, r.capacity)
	}
	if r.positions != nil {
		if err := r.positions.Reshape(int64(r.rows), 1); err != nil {
			return err
		}
		into := ort.View[int64](r.positions)
		for i := range ids {
			into[i] = int64(r.lengths[i])
		}
	}
	if err := r.mask.Reshape(int64(r.rows), int64(width)); err != nil {
		return err
	}
	r.markRows(ort.View[int64](r.mask), width)
	if err := r.run(1, 1, 1); err != nil {
		return err
	}
	for i, id := range ids {
		if id >= 0 {
			r.lengths[i]++
		}
	}
	return nil
}

// markRows writes the mask (rows, width): ones over each row's tokens and the new one. A shared cache holds them from the start of the row,
// the other one at its end.
func (r *runner) markRows(mask []int64, width int) {
	clear(mask)
	for i := range r.rows {
		from, to := 0, r.lengths[i]+1
		if !r.spec.Shared {
			from, to = r.pads[i], width
		}
		row := mask[i*width : (i+1)*width]
		for j := from; j < to; j++ {
			row[j] = 1
		}
	}
}

// Close frees everything.
func (b *batchRunner) Close() error {
	var errs []error
	if b.joint != nil {
		errs = append(errs, b.joint.Close())
	}
	for _, r := range b.single {
		errs = append(errs, r.Close())
	}
	for _, c := range b.caches {
		errs = append(errs, c.Close())
	}
	for _, v := range b.copies {
		errs = append(errs, v.Close())
	}
	return errors.Join(errs...)
}
