package engine

import (
	"errors"
	"strings"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// top is the part of a runner that leaves the logits of the last token where they were computed, and takes the largest alone.
type top struct {
	on      bool // for the request that runs now
	call    *ort.Call
	present int        // where the cache begins among the outputs
	scale   *ort.Value // (1) float32, which the runner closes
	largest []*ort.Value
	row     *ort.Value // (1, vocab) float32, on the device if there is one
	here    *ort.Value // the same in this process's memory, nil until it was asked for
	copy    func(to, from *ort.Value) error
	env     *ort.Env
	given   sample.Top
	logits  sample.Logits
}

// planTop appends the choice of tokens to a graph that a device computes. A graph that has no place for it stays as it is.
func (m *Model) planTop(files model.Files) error {
	if m.device.Name == "" || m.packed != nil || m.bare != nil {
		return nil
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		return err
	}
	if err := derive.Top(graph, m.spec); err != nil {
		m.log.Info().Err(err).Msg("each step copies a row of logits from the device")
		return tensors.Close()
	}
	m.topped = &derived{&derive.Plan{Model: graph}, tensors}
	return nil
}

// original is a signature without what planTop added.
func original(s model.Signature) model.Signature {
	strip := func(infos []model.TensorInfo) (list []model.TensorInfo) {
		for _, t := range infos {
			if !strings.HasPrefix(t.Name, "shammah.") {
				list = append(list, t)
			}
		}
		return list
	}
	s.Inputs, s.Outputs = strip(s.Inputs), strip(s.Outputs)
	return s
}

// openTop makes the call that gives the largest logits, with the inputs and the cache of the runner's own.
func (r *runner) openTop(m *Model, scale *ort.Value, inputs, present []string) (err error) {
	t := &top{env: m.env, scale: scale}
	r.top = t
	outputs := []string{derive.TopLogits, derive.TopIDs, derive.TopProbs, derive.TopRow}
	t.present = len(outputs)
	if t.call, err = r.session.NewCall(inputs, append(outputs, present...)); err != nil {
		return err
	}
	k, vocab := derive.TopCount(r.spec.Vocab), int64(r.spec.Vocab)
	for i, kind := range []ort.ElementType{ort.Float32, ort.Int64, ort.Float32} {
		v, err := r.env.NewTensor(kind, 1, int64(k))
		if err != nil {
			return err
		}
		t.largest = append(t.largest, v)
		t.call.SetOutput(i, v)
	}
	if m.onDevice() {
		t.copy = m.transfer.copy
		t.row, err = r.session.NewDeviceTensor(m.device, ort.Float32, 1, vocab)
	} else {
		t.row, err = r.env.NewTensor(ort.Float32, 1, vocab)
	}
	if err != nil {
		return err
	}
	t.call.SetOutput(len(t.largest), t.row)
	t.given = sample.Top{IDs: make([]int32, k), Logits: ort.View[float32](t.largest[0]), Probs: ort.View[float32](t.largest[2]), Whole: t.whole}
	t.logits = sample.Logits{Top: &t.given}
	return nil
}

// few says that the next runs are for a request with these parameters, for which the largest logits may be enough; nil is none.
func (r *runner) few(p *sample.Params) {
	t := r.top
	if t == nil {
		return
	}
	if t.on = p != nil && p.Few(len(t.given.IDs)); t.on {
		t.given.Scale = p.Scale()
		ort.View[float32](t.scale)[0] = t.given.Scale
	}
}

// run computes what was laid out and takes the largest logits.
func (t *top) run(cancel *ort.RunOptions) error {
	if err := t.call.Run(cancel); err != nil {
		return err
	}
	for i, id := range ort.View[int64](t.largest[1]) {
		t.given.IDs[i] = int32(id)
	}
	return nil
}

// whole is the row that the largest logits were taken from, valid until the next run.
func (t *top) whole() (sample.Logits, error) {
	if t.copy == nil {
		return sample.Logits{F32: ort.View[float32](t.row)}, nil
	}
	if t.here == nil {
		var err error
		if t.here, err = t.env.NewTensor(ort.Float32, t.row.Shape()...); err != nil {
			return sample.Logits{}, err
		}
	}
	if err := t.copy(t.here, t.row); err != nil {
		return sample.Logits{}, err
	}
	return sample.Logits{F32: ort.View[float32](t.here)}, nil
}

func (t *top) Close() error {
	var errs []error
	if t.call != nil {
		errs = append(errs, t.call.Close())
	}
	for _, v := range append(t.largest, t.row, t.here) {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}
