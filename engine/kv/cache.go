package kv

import (
	"fmt"

	"github.com/shammah/shammah-engine/ort"
)

// Cache is a Plan bound to memory. Past values go into a run and Present values come out of it.
// A shared cache has one value per tensor, of full capacity, for both; otherwise two sets take turns, each value exactly as long as its tokens.
// It is not safe for concurrent use.
type Cache struct {
	plan    Plan
	element ort.ElementType
	sets    []*set
	past    int // the set that holds the tokens
	device  string
	env     *ort.Env // and how to copy, where the cache lies on a device
	copy    Copy
	length  int // tokens held; kept here only for caches that are not shared, where it is the values' length
}

// set is one value for every tensor of the cache, over one buffer.
type set struct {
	buffer *ort.Buffer
	values []*ort.Value
	owner  bool // the buffer is this set's own
}

// Open allocates the cache: nothing is resident until tokens touch it.
func Open(env *ort.Env, p Plan, element ort.ElementType) (*Cache, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	total, err := p.Bytes()
	if err != nil {
		return nil, err
	}
	c := &Cache{plan: p, element: element}
	count := 2
	if p.Shared {
		count = 1
	}
	for range count {
		buffer, err := env.NewBuffer(total / count)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("kv: allocate the cache: %w", err)
		}
		s := &set{buffer: buffer, owner: true}
		c.sets = append(c.sets, s)
		length := 0
		if p.Shared {
			length = p.Capacity
		}
		if err := c.bind(s, 0, p.Rows, length); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// bind makes the set's values: rows sequences of length tokens, each tensor at its own place plus offset bytes.
func (c *Cache) bind(s *set, offset, rows, length int) error {
	stride, err := c.plan.TensorBytes()
	if err != nil {
		return err
	}
	for i := range c.plan.Tensors() {
		v, err := s.buffer.Tensor(c.element, i*stride+offset, c.plan.Shape(rows, length)...)
		if err != nil {
			return fmt.Errorf("kv: lay out cache tensor %d of %d: %w", i, c.plan.Tensors(), err)
		}
		s.values = append(s.values, v)
	}
	return nil
}

// Row is a cache of one row over the same memory. It must be closed before c.
func (c *Cache) Row(row int) (*Cache, error) {
	if !c.plan.Shared || c.device != "" || row < 0 || row >= c.plan.Rows {
		return nil, fmt.Errorf("kv: take row %d of %d: only rows of a shared cache in this process's memory can be taken", row, c.plan.Rows)
	}
	bytes, err := c.plan.RowBytes()
	if err != nil {
		return nil, err
	}
	s := &set{buffer: c.sets[0].buffer}
	r := &Cache{plan: c.plan, element: c.element, sets: []*set{s}}
	if err := r.bind(s, row*bytes, 1, c.plan.Capacity); err != nil {
		r.Close()
		return nil, err
	}
	r.plan.Rows = 1
	return r, nil
}

// Plan is what the cache was opened with.
func (c *Cache) Plan() Plan { return c.plan }

// Length is the number of tokens that a cache which is not shared holds in each row.
func (c *Cache) Length() int { return c.length }

// Past is the values to feed, valid until the next Advance or Close.
func (c *Cache) Past() []*ort.Value { return c.sets[c.past].values }

// Present is the values that a run fills, valid until the next Advance or Close.
func (c *Cache) Present() []*ort.Value {
	if c.plan.Shared {
		return c.sets[0].values
	}
	return c.sets[1-c.past].values
}

// Prepare gives Past and Present the lengths that a run of n more tokens needs. A shared cache needs nothing.
func (c *Cache) Prepare(n int) error {
	if c.plan.Shared {
		return nil
	}
	if c.length+n > c.plan.Capacity {
		return fmt.Errorf("kv: make room for %d more tokens: %d of %d are taken", n, c.length, c.plan.Capacity)
	}
	if err := c.reshape(c.sets[c.past], c.length); err != nil {
		return err
	}
	return c.reshape(c.sets[1-c.past], c.length+n)
}

func (c *Cache) reshape(s *set, length int) error {
	shape := c.plan.Shape(c.plan.Rows, length)
	for i, v := range s.values {
		if err := v.Reshape(shape...); err != nil {
			return fmt.Errorf("kv: give cache tensor %d the length %d: %w", i, length, err)
		}
	}
	return nil
}

// Advance makes what the last run filled the past.
func (c *Cache) Advance(n int) {
	if !c.plan.Shared {
		c.length += n
		c.past = 1 - c.past
	}
}

// Keep forgets every token from position n on. In a shared cache the caller's lengths say what counts, and nothing moves.
func (c *Cache) Keep(n int) error {
	if c.plan.Shared || n == c.length {
		return nil
	}
	if n < 0 || n > c.length {
		return fmt.Errorf("kv: keep %d tokens: the cache holds %d", n, c.length)
	}
	if n > 0 {
		for _, v := range c.sets[c.past].values {
			memory := v.Bytes()
			moveRows(memory, memory, c.plan.halves()*c.plan.Rows*c.plan.Heads, n*c.tokenBytes(), n*c.tokenBytes(), c.length*c.tokenBytes())
		}
	}
	c.length = n
	return nil
}

// Join fills row of c, which holds length tokens per row, with the tokens of single, right-aligned: the places before them stay zero and must be masked.
// It is how rows of different lengths decode together in layouts that have one length for the whole batch.
func (c *Cache) Join(row int, single *Cache, length int) error {
	if c.plan.Shared || row < 0 || row >= c.plan.Rows || single.length > length || length > c.plan.Capacity {
		return fmt.Errorf("kv: join row %d of %d: %d tokens into %d of capacity %d", row, c.plan.Rows, single.length, length, c.plan.Capacity)
	}
	if c.length != length {
		c.length = length
		if err := c.reshape(c.sets[c.past], length); err != nil {
			return err
		}
	}
	token := c.tokenBytes()
	pad := (length - single.length) * token
	for i, v := range c.sets[c.past].values {
		to, from := v.Bytes(), single.sets[single.past].values[i].Bytes()
		for half := range c.plan.halves() {
			dst := to[(half*c.plan.Rows+row)*c.plan.Heads*length*token+pad:]
			src := from[half*c.plan.Heads*single.length*token:]
			moveRows(dst, src, c.plan.Heads, single.length*token, length*token, single.length*token)
		}
	}
	return nil
}

// tokenBytes is what one token takes in one head.
func (c *Cache) tokenBytes() int { return c.plan.HeadDim * c.plan.Element }

// moveRows copies count runs of n bytes from src, stride apart, to dst, to apart. It may work in place when to is not above stride.
func moveRows(dst, src []byte, count, n, to, stride int) {
	for i := range count {
		copy(dst[i*to:i*to+n], src[i*stride:i*stride+n])
	}
}

// Close frees the memory. It may be called twice.
func (c *Cache) Close() error {
	var first error
	for _, s := range c.sets {
		for _, v := range s.values {
			if err := v.Close(); err != nil && first == nil {
				first = err
			}
		}
		if s.owner && s.buffer != nil {
			if err := s.buffer.Close(); err != nil && first == nil {
				first = err
			}
		}
		s.values, s.buffer = nil, nil
	}
	return first
}
