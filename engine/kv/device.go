package kv

import (
	"fmt"

	"github.com/shammah/shammah-engine/ort"
)

// OpenOn allocates a cache of one row in the memory of a device that the session uses, where nothing but runs sees it: keys and values are
// not copied at each step. Only a shared cache can lie there, since it alone never moves what it holds. It holds the session.
func OpenOn(s *ort.Session, d ort.Device, p Plan, element ort.ElementType) (*Cache, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if !p.Shared || p.Rows != 1 {
		return nil, fmt.Errorf("kv: allocate the cache on %s: only a shared cache of one row can lie there", d.Name)
	}
	c := &Cache{plan: p, element: element, device: d.Name, sets: []*set{{}}}
	for i := range p.Tensors() {
		v, err := s.NewDeviceTensor(d, element, p.Shape(1, p.Capacity)...)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("kv: allocate cache tensor %d of %d on %s: %w", i, p.Tensors(), d.Name, err)
		}
		c.sets[0].values = append(c.sets[0].values, v)
	}
	return c, nil
}

// Device is the device whose memory holds the cache, "" for memory that this process can see.
func (c *Cache) Device() string { return c.device }
