package kv

import (
	"slices"
	"strings"
	"testing"
)

func TestPlanBytes(t *testing.T) {
	base := Plan{Layers: 24, Heads: 2, HeadDim: 64, Capacity: 4096, Rows: 1, Element: 4}
	for _, c := range []struct {
		name   string
		change func(*Plan)
		bytes  int
		shape  []int64
	}{
		{"swapped", func(p *Plan) {}, 2 * 48 * 2 * 64 * 4096 * 4, []int64{1, 2, 7, 64}},
		{"shared", func(p *Plan) { p.Shared = true }, 48 * 2 * 64 * 4096 * 4, []int64{1, 2, 7, 64}},
		{"combined", func(p *Plan) { p.Combined = true }, 2 * 24 * 2 * 2 * 64 * 4096 * 4, []int64{2, 1, 2, 7, 64}},
		{"float16 rows", func(p *Plan) { p.Shared, p.Element, p.Rows = true, 2, 3 }, 48 * 3 * 2 * 64 * 4096 * 2, []int64{3, 2, 7, 64}},
		{"odd sizes start aligned", func(p *Plan) { p.Shared, p.HeadDim, p.Capacity, p.Heads = true, 3, 5, 1 }, 48 * 64, []int64{1, 1, 7, 3}},
	} {
		p := base
		c.change(&p)
		if err := p.Check(); err != nil {
			t.Errorf("%s: check %+v: %v", c.name, p, err)
		}
		if got, err := p.Bytes(); got != c.bytes || err != nil {
			t.Errorf("%s: bytes of %+v = %d, %v; want %d", c.name, p, got, err, c.bytes)
		}
		if got := p.Shape(p.Rows, 7); !slices.Equal(got, c.shape) {
			t.Errorf("%s: shape = %v, want %v", c.name, got, c.shape)
		}
	}
}

func TestPlanRefusesWhatCannotBe(t *testing.T) {
	good := Plan{Layers: 2, Heads: 2, HeadDim: 64, Capacity: 64, Rows: 1, Element: 4}
	for _, c := range []struct {
		change func(*Plan)
		want   string
	}{
		{func(p *Plan) { p.Layers = 0 }, "layers is 0"},
		{func(p *Plan) { p.Heads = -1 }, "heads is -1"},
		{func(p *Plan) { p.HeadDim = 0 }, "head size is 0"},
		{func(p *Plan) { p.Capacity = 0 }, "context is 0"},
		{func(p *Plan) { p.Rows = 0 }, "rows is 0"},
		{func(p *Plan) { p.Layers, p.Capacity, p.HeadDim = 1<<30, 1<<30, 1<<30 }, "does not fit"},
		{func(p *Plan) { p.Combined, p.Shared = true, true }, "in place"},
	} {
		p := good
		c.change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("check %+v = %v, want an error with %q", p, err, c.want)
		}
	}
}
