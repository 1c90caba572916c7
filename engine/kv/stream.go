package kv

import (
	"fmt"
	"io"
	"iter"

	"github.com/shammah/shammah-engine/ort"
)

// WriteTokens writes the first n tokens of the cache's one row: (tensor, half, head, n, head_dim), with nothing between. It is the same for
// every kind of cache and every capacity.
func (c *Cache) WriteTokens(w io.Writer, n int) error {
	if err := c.checkTokens("write", n); err != nil {
		return err
	}
	if !c.plan.Shared {
		if n > c.length {
			return fmt.Errorf("kv: write %d tokens: the cache holds %d", n, c.length)
		}
		if err := c.reshape(c.sets[c.past], c.length); err != nil {
			return err
		}
	}
	err := c.each(func(v, here *ort.Value) error {
		if v != here {
			if err := c.copy(here, v); err != nil {
				return err
			}
		}
		for run := range c.runs(here.Bytes(), n) {
			if _, err := w.Write(run); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kv: write %d tokens: %w", n, err)
	}
	return nil
}

// ReadTokens fills the cache's one row with n tokens that WriteTokens wrote, in place of what it holds. After an error it holds none.
func (c *Cache) ReadTokens(r io.Reader, n int) error {
	if err := c.checkTokens("read", n); err != nil {
		return err
	}
	if !c.plan.Shared {
		c.length = 0
		if err := c.reshape(c.sets[c.past], n); err != nil {
			return err
		}
		c.length = n
	}
	err := c.each(func(v, here *ort.Value) error {
		for run := range c.runs(here.Bytes(), n) {
			if _, err := io.ReadFull(r, run); err != nil {
				return err
			}
		}
		if v != here {
			return c.copy(v, here)
		}
		return nil
	})
	if err != nil {
		if !c.plan.Shared {
			c.length = 0
		}
		return fmt.Errorf("kv: read %d tokens: %w", n, err)
	}
	return nil
}

// each calls f with every tensor that holds the tokens and one that this process can see: the same, or in turn the same other one where the
// cache lies on a device.
func (c *Cache) each(f func(v, here *ort.Value) error) error {
	var staged *ort.Value
	if c.device != "" {
		var err error
		if staged, err = c.here(); err != nil {
			return err
		}
		defer staged.Close()
	}
	for _, v := range c.sets[c.past].values {
		here := v
		if staged != nil {
			here = staged
		}
		if err := f(v, here); err != nil {
			return err
		}
	}
	return nil
}

// runs is the memory of the first n tokens in every half and head of a tensor.
func (c *Cache) runs(memory []byte, n int) iter.Seq[[]byte] {
	token := c.tokenBytes()
	stride := c.length * token
	if c.plan.Shared {
		stride = c.plan.Capacity * token
	}
	return func(yield func([]byte) bool) {
		for i := range c.plan.halves() * c.plan.Heads {
			if !yield(memory[i*stride : i*stride+n*token]) {
				return
			}
		}
	}
}

func (c *Cache) checkTokens(what string, n int) error {
	if c.plan.Rows != 1 || n < 0 || n > c.plan.Capacity {
		return fmt.Errorf("kv: %s %d tokens: expected a cache of one row with room for them, found %d rows and room for %d", what, n, c.plan.Rows, c.plan.Capacity)
	}
	return nil
}
