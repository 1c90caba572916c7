package onnx

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// Read reads the model in src, which holds size bytes.
// Errors wrap ErrTruncated when the file was cut off, and ErrMalformed when it is something else.
func Read(src io.ReaderAt, size int64) (*Model, error) {
	r := &reader{src: src, size: size}
	m := &Model{Metadata: map[string]string{}}
	p := &parser{reader: r, model: m}
	if err := r.each(size, p.modelField); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	if m.Graph == nil {
		return nil, fmt.Errorf("onnx: %w: no graph in %d bytes", ErrMalformed, size)
	}
	return m, nil
}

type parser struct {
	*reader
	model *Model
	depth int
}

func (p *parser) modelField(x field) error {
	m := p.model
	switch x.num {
	case 1:
		m.IRVersion = int64(x.value)
	case 2:
		s, err := p.string(x)
		m.Producer = s
		return err
	case 7:
		if m.Graph != nil {
			return fmt.Errorf("%w: byte %d: a second graph", ErrMalformed, p.pos)
		}
		g, err := p.graph(x)
		m.Graph = g
		return err
	case 8:
		o, err := p.opset(x)
		m.Opsets = append(m.Opsets, o)
		return err
	case 14:
		k, v, err := p.pair(x)
		m.Metadata[k] = v
		return err
	case 25:
		return p.function(x)
	}
	return nil
}

func (p *parser) opset(x field) (o Opset, err error) {
	if err := p.message(x); err != nil {
		return o, err
	}
	err = p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			o.Domain, err = p.string(x)
		case 2:
			o.Version = int64(x.value)
		}
		return err
	})
	return o, err
}

func (p *parser) pair(x field) (key, value string, err error) {
	if err := p.message(x); err != nil {
		return "", "", err
	}
	err = p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			key, err = p.string(x)
		case 2:
			value, err = p.string(x)
		}
		return err
	})
	return key, value, err
}

func (p *parser) function(x field) error {
	if err := p.message(x); err != nil {
		return err
	}
	var f Function
	err := p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			f.Name, err = p.string(x)
		case 7:
			_, err = p.node(x)
		case 10:
			f.Domain, err = p.string(x)
		}
		return err
	})
	p.model.Functions = append(p.model.Functions, f)
	return err
}

func (p *parser) graph(x field) (*Graph, error) {
	if err := p.message(x); err != nil {
		return nil, err
	}
	if p.depth++; p.depth > nestingMax {
		return nil, fmt.Errorf("%w: byte %d: graphs nested more than %d deep", ErrMalformed, p.pos, nestingMax)
	}
	defer func() { p.depth-- }()
	g := &Graph{}
	err := p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			var n Node
			n, err = p.node(x)
			g.Nodes = append(g.Nodes, n)
		case 2:
			g.Name, err = p.string(x)
		case 5:
			var t *Tensor
			if t, err = p.tensor(x); err == nil {
				g.Initializers = append(g.Initializers, *t)
			}
		case 11, 12:
			var v Value
			v, err = p.value(x)
			if x.num == 11 {
				g.Inputs = append(g.Inputs, v)
			} else {
				g.Outputs = append(g.Outputs, v)
			}
		case 15:
			err = p.sparse(x)
		}
		return err
	})
	return g, err
}

func (p *parser) node(x field) (n Node, err error) {
	if err := p.message(x); err != nil {
		return n, err
	}
	n.Span = Span{p.pos, x.end}
	err = p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			err = p.into(&n.Inputs, x)
		case 2:
			err = p.into(&n.Outputs, x)
		case 3:
			n.Name, err = p.string(x)
		case 4:
			n.Op, err = p.string(x)
		case 5:
			var a Attribute
			a, err = p.attribute(x)
			n.Attributes = append(n.Attributes, a)
		case 7:
			n.Domain, err = p.string(x)
		}
		return err
	})
	return n, err
}

func (p *parser) attribute(x field) (a Attribute, err error) {
	if err := p.message(x); err != nil {
		return a, err
	}
	single := 0 // messages of fields that may stand once
	err = p.each(x.end, func(x field) (err error) {
		if x.num == 5 || x.num == 22 {
			if single++; single > 1 {
				return p.twice(x)
			}
		}
		switch x.num {
		case 1:
			a.Name, err = p.string(x)
		case 2:
			a.Float = math.Float32frombits(uint32(x.value))
		case 3:
			a.Int = int64(x.value)
		case 4:
			if x.end-p.pos <= keepMax {
				a.String, err = p.string(x)
			}
		case 5, 10:
			var t *Tensor
			if t, err = p.tensor(x); a.Tensor == nil {
				a.Tensor = t
			}
		case 6, 11:
			var g *Graph
			g, err = p.graph(x)
			a.Graphs = append(a.Graphs, g)
		case 8:
			err = p.integers(&a.Ints, x, keepMax)
		case 22, 23:
			err = p.sparse(x)
		}
		return err
	})
	return a, err
}

func (p *parser) value(x field) (v Value, err error) {
	if err := p.message(x); err != nil {
		return v, err
	}
	v.Span = Span{p.pos, x.end}
	err = p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			v.Name, err = p.string(x)
		case 2:
			if err = p.message(x); err == nil {
				err = p.each(x.end, func(x field) error { return p.valueType(&v, x) })
			}
		}
		return err
	})
	return v, err
}

func (p *parser) valueType(v *Value, x field) error {
	if x.num != 1 { // sequences, maps and optionals are not tensors
		return nil
	}
	if err := p.message(x); err != nil {
		return err
	}
	return p.each(x.end, func(x field) error {
		switch x.num {
		case 1:
			v.Type = dataType(x.value)
		case 2:
			if err := p.message(x); err != nil {
				return err
			}
			v.Shape = []Dim{}
			return p.each(x.end, func(x field) error {
				if x.num != 1 {
					return nil
				}
				d, err := p.dim(x)
				v.Shape = append(v.Shape, d)
				return err
			})
		}
		return nil
	})
}

func (p *parser) dim(x field) (Dim, error) {
	d := Dim{Size: -1}
	if err := p.message(x); err != nil {
		return d, err
	}
	err := p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			d.Size = int64(x.value)
		case 2:
			d.Symbol, err = p.string(x)
			d.Size = -1
		}
		return err
	})
	if err == nil && d.Size < -1 {
		err = fmt.Errorf("%w: byte %d: dimension %d", ErrMalformed, p.pos, d.Size)
	}
	return d, err
}

// sparse reads a sparse tensor's values and indices, which may lie outside the file like any other tensor.
func (p *parser) sparse(x field) error {
	if err := p.message(x); err != nil {
		return err
	}
	var seen [3]bool
	return p.each(x.end, func(x field) (err error) {
		if x.num == 1 || x.num == 2 {
			if seen[x.num] {
				return p.twice(x)
			}
			seen[x.num] = true
			_, err = p.tensor(x)
		}
		return err
	})
}

// twice refuses a tensor that stands twice where one may stand: others merge the two, and read what neither says.
func (p *parser) twice(x field) error {
	return fmt.Errorf("%w: byte %d: the tensor of field %d stands twice", ErrMalformed, p.pos, x.num)
}

func dataType(v uint64) DataType {
	if v > math.MaxInt16 {
		return -1
	}
	return DataType(v)
}

func (p *parser) tensor(x field) (*Tensor, error) {
	if err := p.message(x); err != nil {
		return nil, err
	}
	t, at, raw := &Tensor{Span: Span{p.pos, x.end}}, p.pos, int64(-1)
	var floats Span
	outside, entries := false, map[string]string{}
	err := p.each(x.end, func(x field) (err error) {
		switch x.num {
		case 1:
			err = p.integers(&t.Dims, x, rankMax)
		case 2:
			t.Type = dataType(x.value)
		case 5, 7: // int32_data, int64_data
			t.Inline += x.end - p.pos
			if x.end-p.pos <= 64 {
				err = p.integers(&t.ints, x, 64)
			}
		case 4, 6, 10, 11:
			t.Inline += x.end - p.pos
			if x.num == 4 {
				floats = Span{p.pos, x.end}
			}
		case 8:
			t.Name, err = p.string(x)
		case 9:
			raw = x.end - p.pos
			t.Raw = Span{p.pos, x.end}
			t.Inline += raw
			if raw <= 64 {
				t.small, err = p.bytes(x, 64)
			}
		case 13:
			var k, v string
			k, v, err = p.pair(x)
			if _, twice := entries[k]; twice && err == nil {
				err = fmt.Errorf("%w: tensor %q names the %s of its external data twice", ErrMalformed, t.Name, k)
			}
			entries[k] = v
		case 14:
			outside = x.value == 1
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if size, err := t.Size(); raw < 0 && t.Type == Float32 && err == nil && floats.End-floats.At == size && t.Inline == size {
		t.Raw = floats // packed floats lie as raw ones do
	}
	if !outside {
		return t, t.checkInline(raw)
	}
	t.External, err = external(entries)
	if err != nil {
		return nil, fmt.Errorf("%w: tensor %q: %v", ErrMalformed, t.Name, err)
	}
	t.External.File = at
	p.model.external = append(p.model.external, t)
	_, err = t.Size()
	return t, err
}

func (t *Tensor) checkInline(raw int64) error {
	size, err := t.Size()
	if err == nil && raw >= 0 && size >= 0 && raw != size {
		err = fmt.Errorf("%w: tensor %q of shape %v holds %d bytes, %d were expected", ErrMalformed, t.Name, t.Dims, raw, size)
	}
	return err
}

func external(entries map[string]string) (*External, error) {
	e := &External{Location: entries["location"], Length: -1}
	if e.Location == "" {
		return nil, fmt.Errorf("external data without a location")
	}
	for _, key := range []string{"offset", "length"} {
		text, given := entries[key]
		if !given {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("external data: %s %q, a number of bytes was expected", key, text)
		}
		if key == "offset" {
			e.Offset = v
		} else {
			e.Length = v
		}
	}
	return e, nil
}

// Elements is the product of the dimensions, 1 for a scalar.
func (t *Tensor) Elements() (int64, error) {
	if i := slices.IndexFunc(t.Dims, func(d int64) bool { return d < 0 }); i >= 0 {
		return 0, fmt.Errorf("%w: tensor %q has the shape %v", ErrMalformed, t.Name, t.Dims)
	}
	if slices.Contains(t.Dims, 0) {
		return 0, nil
	}
	n := int64(1)
	for _, d := range t.Dims {
		if n > math.MaxInt64/16/d { // room for the element size in bytes
			return 0, fmt.Errorf("%w: tensor %q: the shape %v overflows", ErrMalformed, t.Name, t.Dims)
		}
		n *= d
	}
	return n, nil
}

// Size is the number of bytes the tensor's values take, -1 when the type has no fixed size.
func (t *Tensor) Size() (int64, error) {
	n, err := t.Elements()
	if err != nil {
		return 0, err
	}
	bits := t.Type.Bits()
	switch {
	case bits == 0:
		return -1, nil
	case bits < 8:
		per := 8 / bits
		return n/per + min(n%per, 1), nil
	}
	return n * (bits / 8), nil
}
