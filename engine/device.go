package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/shammah/shammah-engine/engine/kv"
	"github.com/shammah/shammah-engine/engine/sample"
	"github.com/shammah/shammah-engine/ort"
)

// deviceOf is the memory that the providers compute in, as the runtime names it; without a name it is this process's own.
func deviceOf(providers []ort.Provider) (d ort.Device, err error) {
	for _, p := range providers {
		if p.Plugin != "" || !strings.EqualFold(short(p.Name), "CUDA") {
			continue
		}
		d.Name = "Cuda"
		if id := p.Options["device_id"]; id != "" {
			if d.ID, err = strconv.Atoi(id); err != nil {
				return d, fmt.Errorf("engine: open model: the CUDA provider's device_id is %q, expected a number", id)
			}
		}
		return d, nil
	}
	return d, nil
}

// openSingle allocates the cache of one sequence: on the device that computes, where it can lie there, so that keys and values are not copied
// to it and back at each step.
func (m *Model) openSingle() (*kv.Cache, error) {
	if !m.spec.Shared || !m.onDevice() {
		return m.openCache(1)
	}
	return m.openOn(m.device, 1)
}

// onDevice says whether the providers' own memory is where most is computed.
func (m *Model) onDevice() bool {
	return m.device.Name != "" && m.placement.Compute(m.device.Name) >= 0.5
}

func (m *Model) openOn(d ort.Device, rows int) (*kv.Cache, error) {
	plan, element := m.cachePlan(rows)
	return kv.OpenOn(m.env, m.session, d, plan, element, m.transfer.copy)
}

// cleared is an error of a request, after whose numeric fault the model holds no trace of it: no tokens, and in the cache no numbers of theirs.
func (m *Model) cleared(err error) error {
	if !errors.Is(err, sample.ErrNumeric) {
		return err
	}
	failed := m.runner.Keep(0)
	if m.cache != nil {
		failed = errors.Join(failed, m.cache.Clear())
	}
	if failed != nil {
		return fmt.Errorf("%w; %w", err, failed)
	}
	return err
}
