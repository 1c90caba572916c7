package engine

import (
	"errors"
	"fmt"

	"github.com/shammah/shammah-engine/cpu"
	"github.com/shammah/shammah-engine/engine/derive"
	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// Kernels says who computes a model's quantised matrix products and attention on the CPU.
type Kernels int

const (
	KernelsAuto  Kernels = iota // package cpu's, wherever they are right
	KernelsOff                  // the runtime's, in the graph as it is
	KernelsExact                // the runtime's, with activations in float32 instead of 8 bits
)

// derived is a graph for our kernels, planned before anything is loaded.
type derived struct {
	plan    *derive.Plan
	tensors *model.Tensors // open until the weights are packed
}

// planKernels derives the graph where that can be done; m.kernels says why not.
func (m *Model) planKernels(files model.Files, o Options) error {
	switch {
	case o.Kernels != KernelsAuto:
		m.kernels = "off"
		return nil
	case len(o.Providers) > 0 && wanted(o.Providers) != "cpu":
		m.kernels = "off: they are for the CPU"
		return nil
	}
	graph, tensors, err := files.ReadGraph()
	if err != nil {
		return err
	}
	plan, err := derive.Derive(graph, m.spec, derive.Options{Read: tensors.Read, HalfCache: o.HalfCache, Adapters: o.Adapters})
	if err != nil {
		m.kernels = err.Error()
		closing := tensors.Close()
		if errors.Is(err, derive.ErrNothing) {
			err = nil
		}
		return errors.Join(err, closing)
	}
	m.packed = &derived{plan, tensors}
	spec := *m.spec
	plan.Describe(&spec)
	m.spec = &spec
	return nil
}

// checkCache refuses a float16 cache that only our attention could give and does not.
func (m *Model) checkCache(o Options) error {
	if !o.HalfCache || m.spec.KVType == "float16" {
		return nil
	}
	why := m.kernels
	if why == "" {
		why = "they leave its attention to the runtime"
	}
	return fmt.Errorf("engine: open %s: a float16 cache was asked for, which needs our kernels' attention (%s); leave the cache's type out", m.spec.Name, why)
}

// openDerived packs the weights and opens the derived graph over them.
func (m *Model) openDerived(files model.Files, options ort.SessionOptions) error {
	d := m.packed
	w, err := loadWeights(m.env, d.tensors, d.plan, sharedKey(files, d.plan), m.threads, m.context)
	if err != nil {
		return err
	}
	m.stepBytes = w.stepBytes(d.plan)
	graph, err := d.write(files)
	if err != nil {
		w.Close()
		return err
	}
	g, err := cpu.NewGraph(w.packed, w.lists, m.threads)
	if err != nil {
		w.Close()
		return err
	}
	m.places = newPlaces(g, d.plan, m.spec)
	options.Operators = &ort.Operators{Domain: derive.Domain, List: g.Operators(), Released: func() {
		g.Close()
		w.Close()
	}}
	m.session, err = m.env.OpenSessionBytes(graph, options)
	return err
}

// checkDerived checks that the session has the tensors that the runner will name.
func (m *Model) checkDerived() error {
	have := map[string]bool{}
	for _, t := range append(m.session.Inputs(), m.session.Outputs()...) {
		have[t.Name] = true
	}
	s := m.spec
	names := []string{s.InputIDs, s.Mask, s.Positions, s.NumLogits, s.UseCacheBranch, s.LogitsRows, s.Logits}
	for i := range s.Past {
		names = append(names, s.Past[i].Key, s.Past[i].Value, s.Present[i].Key, s.Present[i].Value)
	}
	for _, n := range names {
		if n != "" && !have[n] {
			return fmt.Errorf("engine: open the derived graph of %s: it has no tensor %q", s.Name, n)
		}
	}
	return nil
}

// closeDerived closes what planning opened.
func (m *Model) closeDerived() error {
	for _, d := range []*derived{m.packed, m.bare, m.topped} {
		if d != nil {
			return d.tensors.Close()
		}
	}
	return nil
}
