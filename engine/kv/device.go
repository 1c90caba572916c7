package kv

import (
	"fmt"

	"github.com/shammah/shammah-engine/ort"
)

// Copy fills one value with another of the same type and shape, wherever both lie.
type Copy func(to, from *ort.Value) error

// OpenOn allocates a cache in the memory of a device that the session uses, where runs alone see it: keys and values are not
// copied at each step, and copy brings them here to be written and read. Only a shared cache can lie there, since it alone never moves what
// it holds. It is cleared: a kernel may multiply what lies beyond a row's length by 0, and what was there before, which may be no number,
// would stay none. It holds the session.
func OpenOn(env *ort.Env, s *ort.Session, d ort.Device, p Plan, element ort.ElementType, copy Copy) (*Cache, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if !p.Shared {
		return nil, fmt.Errorf("kv: allocate the cache on %s: only a shared cache can lie there", d.Name)
	}
	c := &Cache{plan: p, element: element, device: d.Name, env: env, copy: copy, sets: []*set{{}}}
	for i := range p.Tensors() {
		v, err := s.NewDeviceTensor(d, element, p.Shape(p.Rows, p.Capacity)...)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("kv: allocate cache tensor %d of %d on %s: %w", i, p.Tensors(), d.Name, err)
		}
		c.sets[0].values = append(c.sets[0].values, v)
	}
	if err := c.Clear(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Clear zeroes a cache on a device: when it is new, and when what was computed may be no numbers. In this process's memory nothing needs it.
func (c *Cache) Clear() error {
	if c.device == "" {
		return nil
	}
	zeros, err := c.here()
	if err != nil {
		return fmt.Errorf("kv: clear the cache on %s: %w", c.device, err)
	}
	defer zeros.Close()
	for i, v := range c.sets[0].values {
		if err := c.copy(v, zeros); err != nil {
			return fmt.Errorf("kv: clear cache tensor %d of %d on %s: %w", i, c.plan.Tensors(), c.device, err)
		}
	}
	return nil
}

// Take fills c, which lies on a device, with all that a cache of the same plan holds in this process's memory.
func (c *Cache) Take(from *Cache) error {
	if c.device == "" || from.device != "" || c.plan != from.plan {
		return fmt.Errorf("kv: take over a cache: expected one in this process's memory like the one on a device, found %+v on %q for %+v on %q", from.plan, from.device, c.plan, c.device)
	}
	for i, v := range c.sets[0].values {
		if err := c.copy(v, from.sets[0].values[i]); err != nil {
			return fmt.Errorf("kv: take over cache tensor %d of %d: %w", i, c.plan.Tensors(), err)
		}
	}
	return nil
}

// here is a zeroed value of this process, of the shape of one tensor.
func (c *Cache) here() (*ort.Value, error) {
	return c.env.NewTensor(c.element, c.plan.Shape(c.plan.Rows, c.plan.Capacity)...)
}

// Device is the device whose memory holds the cache, "" for memory that this process can see.
func (c *Cache) Device() string { return c.device }
