package kv

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/internal/ortest"
	"github.com/shammah/shammah-engine/ort"
)

func open(t *testing.T, p Plan) *Cache {
	t.Helper()
	c, err := Open(ortest.Env(t), p, ort.Float32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// number marks the place (tensor, half, row, head, token, dim) so that a move shows.
func number(tensor, half, row, head, token, dim int) float32 {
	return float32(tensor*100000 + half*10000 + row*1000 + head*100 + token*10 + dim)
}

// fill writes n numbered tokens as a run would: into Present, and then Advance. Token t of the run is called first+t.
func fill(t *testing.T, c *Cache, n int) {
	t.Helper()
	first := c.Length()
	if err := c.Prepare(n); err != nil {
		t.Fatal(err)
	}
	p := c.Plan()
	for i, v := range c.Present() {
		view := ort.View[float32](v)
		at := 0
		for half := range p.halves() {
			for row := range p.Rows {
				for head := range p.Heads {
					for token := range first + n {
						for dim := range p.HeadDim {
							view[at] = number(i, half, row, head, token, dim)
							at++
						}
					}
				}
			}
		}
	}
	c.Advance(n)
}

// holds checks that Past has exactly the tokens of want in every tensor, half, row and head; -1 stands for a place of zeros.
func holds(t *testing.T, c *Cache, row int, want []int) {
	t.Helper()
	if err := c.Prepare(0); err != nil {
		t.Fatal(err)
	}
	p := c.Plan()
	for i, v := range c.Past() {
		if got := v.Shape(); !slices.Equal(got, p.Shape(p.Rows, len(want))) {
			t.Fatalf("tensor %d has the shape %v, want %v", i, got, p.Shape(p.Rows, len(want)))
		}
		view := ort.View[float32](v)
		for half := range p.halves() {
			for head := range p.Heads {
				for at, token := range want {
					for dim := range p.HeadDim {
						expected := float32(0)
						if token >= 0 {
							expected = number(i, half, 0, head, token, dim)
						}
						place := (((half*p.Rows+row)*p.Heads+head)*len(want)+at)*p.HeadDim + dim
						if view[place] != expected {
							t.Fatalf("tensor %d, half %d, row %d, head %d, place %d: %v, want %v (token %d)", i, half, row, head, at, view[place], expected, token)
						}
					}
				}
			}
		}
	}
}

func swapped(combined bool) Plan {
	return Plan{Layers: 2, Heads: 2, HeadDim: 3, Capacity: 9, Rows: 1, Element: 4, Combined: combined}
}

func TestSwappedCacheGrowsAndForgets(t *testing.T) {
	for _, combined := range []bool{false, true} {
		c := open(t, swapped(combined))
		holds(t, c, 0, nil)
		fill(t, c, 5)
		fill(t, c, 1)
		holds(t, c, 0, []int{0, 1, 2, 3, 4, 5})
		if err := c.Keep(2); err != nil {
			t.Fatal(err)
		}
		holds(t, c, 0, []int{0, 1})
		fill(t, c, 7)
		holds(t, c, 0, []int{0, 1, 2, 3, 4, 5, 6, 7, 8})
		if err := c.Prepare(1); err == nil {
			t.Error("a full cache made room for one more")
		}
		if err := c.Keep(10); err == nil {
			t.Error("the cache kept more than it holds")
		}
		if err := c.Keep(0); err != nil || c.Length() != 0 {
			t.Errorf("keep nothing: %d tokens left, %v", c.Length(), err)
		}
	}
}

func TestJoinAlignsRowsAtTheirEnd(t *testing.T) {
	for _, combined := range []bool{false, true} {
		single := open(t, swapped(combined))
		plan := swapped(combined)
		plan.Rows = 3
		joint := open(t, plan)
		for row, n := range []int{2, 5, 1} {
			if err := single.Keep(0); err != nil {
				t.Fatal(err)
			}
			fill(t, single, n)
			if err := joint.Join(row, single, 5); err != nil {
				t.Fatal(err)
			}
		}
		holds(t, joint, 0, []int{-1, -1, -1, 0, 1})
		holds(t, joint, 1, []int{0, 1, 2, 3, 4})
		holds(t, joint, 2, []int{-1, -1, -1, -1, 0})
		if err := joint.Join(3, single, 5); err == nil {
			t.Error("a row beyond the last was joined")
		}
	}
}

func TestSharedRowsAreViews(t *testing.T) {
	plan := Plan{Layers: 1, Heads: 2, HeadDim: 3, Capacity: 4, Rows: 3, Element: 4, Shared: true}
	c := open(t, plan)
	for i, v := range c.Past() {
		if v != c.Present()[i] {
			t.Errorf("tensor %d: past and present are two values", i)
		}
	}
	for row := range plan.Rows {
		r, err := c.Row(row)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range r.Past() {
			for i := range ort.View[float32](v) {
				ort.View[float32](v)[i] = float32(row + 1)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	size := plan.Heads * plan.Capacity * plan.HeadDim
	for i, v := range c.Past() {
		for place, got := range ort.View[float32](v) {
			if want := float32(place/size + 1); got != want {
				t.Fatalf("tensor %d, place %d: %v, want %v: rows overlap", i, place, got, want)
			}
		}
	}
	if _, err := c.Row(3); err == nil {
		t.Error("row 3 of 3 was taken")
	}
	if _, err := open(t, swapped(false)).Row(0); err == nil {
		t.Error("a row of a cache that is not shared was taken")
	}
}

// What one cache writes another reads, whatever its kind and capacity: only the tokens asked for, and those exactly.
func TestTokensAreWrittenAndRead(t *testing.T) {
	for _, combined := range []bool{false, true} {
		for _, kept := range []int{0, 1, 4, 6} {
			from := open(t, swapped(combined))
			fill(t, from, 5)
			fill(t, from, 1) // in the other set
			var written bytes.Buffer
			if err := from.WriteTokens(&written, kept); err != nil {
				t.Fatal(err)
			}
			p := from.Plan()
			if want := p.Tensors() * p.halves() * p.Heads * kept * p.HeadDim * p.Element; written.Len() != want {
				t.Errorf("%d tokens are %d bytes, want %d", kept, written.Len(), want)
			}
			plan := swapped(combined)
			plan.Capacity = 20
			to := open(t, plan)
			fill(t, to, 3)
			if err := to.ReadTokens(bytes.NewReader(written.Bytes()), kept); err != nil {
				t.Fatal(err)
			}
			want := []int{0, 1, 2, 3, 4, 5, 6, 7}
			holds(t, to, 0, want[:kept])
			fill(t, to, 8-kept)
			holds(t, to, 0, want)

			if combined {
				continue
			}
			plan.Shared, plan.Capacity = true, 7
			shared := open(t, plan)
			if err := shared.ReadTokens(bytes.NewReader(written.Bytes()), kept); err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if err := shared.WriteTokens(&again, kept); err != nil || !bytes.Equal(again.Bytes(), written.Bytes()) {
				t.Errorf("%d tokens came back from a shared cache as other bytes (%v)", kept, err)
			}
			for i, v := range shared.Past() {
				head := ort.View[float32](v)[plan.Capacity*plan.HeadDim:]
				for token := range plan.Capacity {
					if want := number(i, 0, 0, 1, token, 2); token < kept && head[token*plan.HeadDim+2] != want || token >= kept && head[token*plan.HeadDim+2] != 0 {
						t.Errorf("tensor %d, head 1, token %d of %d: %v", i, token, kept, head[token*plan.HeadDim+2])
					}
				}
			}
		}
	}
}

func TestTokensThatCannotBeReadOrWritten(t *testing.T) {
	rows := swapped(false)
	rows.Rows = 2
	c, many := open(t, swapped(false)), open(t, rows)
	fill(t, c, 4)
	var written bytes.Buffer
	if err := c.WriteTokens(&written, 4); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"more than it holds":      c.WriteTokens(io.Discard, 5),
		"fewer than none":         c.WriteTokens(io.Discard, -1),
		"of several rows":         many.WriteTokens(io.Discard, 0),
		"into several rows":       many.ReadTokens(bytes.NewReader(nil), 0),
		"not on a device":         c.Take(many),
		"more than there is room": c.ReadTokens(bytes.NewReader(nil), 10),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	holds(t, c, 0, []int{0, 1, 2, 3})
	if err := c.ReadTokens(bytes.NewReader(written.Bytes()[:written.Len()-1]), 4); !errors.Is(err, io.ErrUnexpectedEOF) || c.Length() != 0 {
		t.Errorf("a short reader: %v, and %d tokens are held; want none", err, c.Length())
	}
	fill(t, c, 2)
	holds(t, c, 0, []int{0, 1})
}
