package engine

import (
	"errors"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// top is the part of a runner that leaves the logits of each row's last token where they were computed, and takes the largest alone.
type top struct {
	on      bool // for the requests that run now
	call    *ort.Call
	inputs  []string // of the call, and its outputs
	outputs []string
	present int        // where the cache begins among the outputs
	at      int        // where the scale is among the inputs
	scale   *ort.Value // (rows, 1) float32, which the runner closes
	largest []*ort.Value
	all     *ort.Value // (rows, vocab) float32, on the device if there is one
	here    *ort.Value // the same in this process's memory, nil until it was asked for
	fresh   bool       // here is of the last run
	copy    func(to, from *ort.Value) error
	env     *ort.Env
	given   []sample.Top    // of each row
	logits  []sample.Logits // the same for whoever chooses
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
	t := &top{env: m.env, scale: scale, inputs: inputs, outputs: []string{derive.TopLogits, derive.TopIDs, derive.TopProbs, derive.TopRow}}
	r.top = t
	t.at, t.present = slices.Index(inputs, derive.TopScale), len(t.outputs)
	t.outputs = append(t.outputs, present...)
	if t.call, err = r.session.NewCall(inputs, t.outputs); err != nil {
		return err
	}
	rows, k, vocab := int64(r.rows), derive.TopCount(r.spec.Vocab), int64(r.spec.Vocab)
	for i, kind := range []ort.ElementType{ort.Float32, ort.Int64, ort.Float32} {
		v, err := r.env.NewTensor(kind, rows, int64(k))
		if err != nil {
			return err
		}
		t.largest = append(t.largest, v)
		t.call.SetOutput(i, v)
	}
	if m.onDevice() {
		t.copy = m.transfer.copy
		t.all, err = r.session.NewDeviceTensor(m.device, ort.Float32, rows, vocab)
	} else {
		t.all, err = r.env.NewTensor(ort.Float32, rows, vocab)
	}
	if err != nil {
		return err
	}
	t.call.SetOutput(len(t.largest), t.all)
	logits, probs := ort.View[float32](t.largest[0]), ort.View[float32](t.largest[2])
	t.given, t.logits = make([]sample.Top, r.rows), make([]sample.Logits, r.rows)
	for i := range t.given {
		from, to := i*k, (i+1)*k
		t.given[i] = sample.Top{IDs: make([]int32, k), Logits: logits[from:to], Probs: probs[from:to], Whole: func() (sample.Logits, error) { return t.whole(i) }}
		t.logits[i].Top = &t.given[i]
	}
	return nil
}

// few says what the requests of the next runs choose by, one a row: the largest logits may be enough for one of them. None: there is none.
func (r *runner) few(params ...sample.Params) {
	t := r.top
	if t == nil {
		return
	}
	t.on = false
	for i, p := range params {
		t.on = t.on || p.Few(len(t.given[i].IDs))
		t.given[i].Scale = p.Scale()
		ort.View[float32](t.scale)[i] = p.Scale()
	}
}

// chosen is the logits of each row after a run: all, or after few the largest.
func (r *runner) chosen() []sample.Logits {
	if r.top != nil && r.top.on {
		return r.top.logits
	}
	return r.logits
}

// run computes what was laid out and takes the largest logits.
func (t *top) run(cancel *ort.RunOptions) error {
	if err := t.call.Run(cancel); err != nil {
		return err
	}
	t.took()
	return nil
}

// took reads the largest logits that a run has left.
func (t *top) took() {
	t.fresh = false
	ids := ort.View[int64](t.largest[1])
	for i := range t.given {
		into := t.given[i].IDs
		for j := range into {
			into[j] = int32(ids[i*len(into)+j])
		}
	}
}

// whole is the row that the largest logits were taken from, valid until the next run.
func (t *top) whole(row int) (sample.Logits, error) {
	from := t.all
	if t.copy != nil {
		if err := t.fetch(); err != nil {
			return sample.Logits{}, err
		}
		from = t.here
	}
	vocab := int(from.Dim(-1))
	return sample.Logits{F32: ort.View[float32](from)[row*vocab : (row+1)*vocab]}, nil
}

// fetch copies all rows here, once a run.
func (t *top) fetch() (err error) {
	if t.fresh {
		return nil
	}
	if t.here == nil {
		if t.here, err = t.env.NewTensor(ort.Float32, t.all.Shape()...); err != nil {
			return err
		}
	}
	err = t.copy(t.here, t.all)
	t.fresh = err == nil
	return err
}

func (t *top) Close() error {
	var errs []error
	if t.call != nil {
		errs = append(errs, t.call.Close())
	}
	for _, v := range append(t.largest, t.all, t.here) {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}
