package ort_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

func TestNewTensor(t *testing.T) {
	env := open(t)
	for _, test := range []struct {
		element ort.ElementType
		shape   []int64
		bytes   int // -1: refused
	}{
		{ort.Float32, []int64{2, 3}, 24},
		{ort.Float32, nil, 4}, // a scalar
		{ort.Float16, []int64{1, 2, 0, 64}, 0},
		{ort.Bool, []int64{7}, 7},
		{ort.Int4, []int64{3}, 2},
		{ort.Complex128, []int64{2}, -1}, // the runtime has none
		{ort.String, []int64{1}, -1},
		{ort.Undefined, []int64{1}, -1},
		{ort.ElementType(999), []int64{1}, -1},
		{ort.ElementType(-1), []int64{1}, -1},
		{ort.Int64, []int64{-1}, -1},
		{ort.Int64, []int64{math.MaxInt64, 2}, -1},
		{ort.Int64, []int64{math.MaxInt64}, -1},
		{ort.Float32, []int64{1 << 31, 1 << 31, 0}, 0},
		{ort.Uint8, []int64{1 << 60}, -1},
	} {
		v, err := env.NewTensor(test.element, test.shape...)
		if test.bytes < 0 {
			if err == nil {
				v.Close()
				t.Errorf("%s %v was made", test.element, test.shape)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %v: %v", test.element, test.shape, err)
			continue
		}
		if v.Type() != test.element || !slices.Equal(v.Shape(), test.shape) {
			t.Errorf("%s %v became %s %v", test.element, test.shape, v.Type(), v.Shape())
		}
		v.Close()
	}
}

func TestTensorsOverOneBuffer(t *testing.T) {
	env := open(t)
	b, err := env.NewBuffer(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := len(b.Bytes()); n != 1<<20 || slices.Max(b.Bytes()) != 0 {
		t.Fatalf("%d bytes, want zeroed %d", n, 1<<20)
	}
	v, err := b.Tensor(ort.Int32, 128, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	copy(ort.View[int32](v), []int32{1, 2, 3, 0x01020304})
	if got := b.Bytes()[128+12 : 128+16]; !slices.Equal(got, []byte{4, 3, 2, 1}) {
		t.Errorf("the buffer has % x", got)
	}
	for _, test := range []struct {
		shape []int64
		ok    bool
	}{
		{[]int64{4}, true}, {[]int64{1, 1, 1, 1, 1, 6}, true}, {[]int64{}, true}, {[]int64{0}, true},
		{[]int64{(1<<20 - 128) / 4}, true}, {[]int64{(1<<20-128)/4 + 1}, false}, {[]int64{-1}, false}, {[]int64{math.MaxInt64, 4}, false},
	} {
		before := v.Shape()
		err := v.Reshape(test.shape...)
		want := test.shape
		if !test.ok {
			want = before
		}
		if (err == nil) != test.ok || !slices.Equal(v.Shape(), want) {
			t.Errorf("reshape to %v: %v, shape %v, want %v", test.shape, err, v.Shape(), want)
		}
		count := 1
		for _, d := range want {
			count *= int(d)
		}
		if got := len(ort.View[int32](v)); got != count {
			t.Errorf("shape %v has a view of %d elements", want, got)
		}
	}
	for _, test := range []struct {
		element ort.ElementType
		offset  int
		shape   []int64
		says    string
	}{
		{ort.Int32, -1, []int64{1}, "offset -1"},
		{ort.Int32, 1<<20 + 1, []int64{1}, "offset"},
		{ort.Int32, 2, []int64{1}, "aligned"},
		{ort.Int32, 1<<20 - 4, []int64{2}, "takes 8 bytes, there are 4"},
		{ort.String, 0, []int64{1}, "no memory layout for string"},
	} {
		if v, err := b.Tensor(test.element, test.offset, test.shape...); err == nil || !strings.Contains(err.Error(), test.says) {
			v.Close()
			t.Errorf("%s at %d of %v: %v, want %q", test.element, test.offset, test.shape, err, test.says)
		}
	}
	if _, err := env.NewBuffer(-1); err == nil {
		t.Error("a buffer of -1 bytes was made")
	}
	if _, err := env.NewBuffer(1 << 60); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("a buffer of 2^60 bytes: %v", err)
	}
}
