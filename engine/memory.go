package engine

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/engine/model"
	"github.com/shammah/shammah-engine/ort"
)

// Peak is the memory foreseen for this process, in bytes, of a use of the model: u says how many tokens there will be, the rest is known. It
// counts the original too where that was opened first, to be compared with, but neither a draft model nor adapters.
func (m *Model) Peak(u model.Use) (int64, error) {
	u.Context, u.Text, u.Exact, u.Device = m.context, m.tokenizer != nil, m.exact, m.onDevice()
	e, err := m.spec.MemoryEstimate(u)
	return max(e.Total(), m.compared), err
}

// DeviceBytes is the memory foreseen of the device that computes, in bytes, for one sequence; 0 where that is this process's own.
func (m *Model) DeviceBytes() (int64, error) {
	e, err := m.spec.MemoryEstimate(model.Use{Context: m.context, Device: m.onDevice()})
	return e.Device, err
}

// contextLeast is the shortest context that is taken unasked.
const contextLeast = 512

// fitContext halves a context that nobody asked for until it fits into the memory available, and notes it.
func (m *Model) fitContext(o Options, available int64) error {
	wished := m.context
	short, first := m.checkMemory(o, available)
	memory, err := short, first
	for errors.Is(err, ErrMemory) && o.Context == 0 && m.context/2 >= contextLeast {
		memory = short
		m.context /= 2
		short, err = m.checkMemory(o, available)
	}
	if err != nil {
		m.context = wished
		return first
	}
	if m.context < wished {
		m.notes = append(m.notes, fmt.Sprintf("a context of %d tokens, not the usual %d, so that the model fits into the %s", m.context, wished, memory))
	}
	return nil
}

// checkMemory refuses a model that needs more memory than is available: the numbers say what, and what to do. It names the memory that is short.
func (m *Model) checkMemory(o Options, available int64) (short string, err error) {
	e, err := m.spec.MemoryEstimate(model.Use{Context: m.context, Text: !o.NoText, Exact: m.exact, Device: m.device.Name != ""})
	if err != nil {
		return "", err
	}
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	if limit := deviceLimit(o.Providers); e.Device > limit && !o.Force {
		return fmt.Sprintf("%s of the memory of %s that it may have", size(limit), m.device.Name), fmt.Errorf("engine: open %s: %w: it needs about %s of the memory of %s with a context of %d tokens, of which it may have %s; allow more, choose a smaller model, variant or context, or try it with --force",
			m.spec.Name, ErrMemory, size(e.Device), m.device.Name, m.context, size(limit))
	}
	if e.Total() <= available {
		return "", nil
	}
	return size(available) + " of memory available", fmt.Errorf("engine: open %s: %w: it needs about %s (weights %s, packed for the processor %s, cache for %d tokens %s, logits and values %s, the rest %s), %s are available; choose a smaller model, variant or context, or try it with --force",
		m.spec.Name, ErrMemory, size(e.Total()), size(e.Weights), size(e.Prepack), m.context, size(e.KV), size(e.Logits+e.Scratch),
		size(e.Total()-e.Weights-e.Prepack-e.KV-e.Logits-e.Scratch), size(available))
}

// deviceLimit is how much of its device's memory a provider may take; what is not said is not limited.
func deviceLimit(providers []ort.Provider) int64 {
	for _, p := range providers {
		if n, err := strconv.ParseInt(p.Options["gpu_mem_limit"], 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return math.MaxInt64
}
