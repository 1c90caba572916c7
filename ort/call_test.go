package ort_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

func TestRunInPlace(t *testing.T) {
	env := open(t)
	s := load(t, env, addGraph(float32Type))
	c := call(t, s, []string{"x", "y"}, []string{"sum"})
	x := tensor(t, env, ort.Float32, []float32{1, 2, 3, 4}, 2, 2)
	y := tensor(t, env, ort.Float32, []float32{10, 20, 30, 40}, 2, 2)
	sum := tensor(t, env, ort.Float32, []float32{}, 2, 2)
	c.SetInput(0, x)
	c.SetInput(1, y)
	c.SetOutput(0, sum)
	if err := c.Run(nil); err != nil {
		t.Fatal(err)
	}
	if got, want := ort.View[float32](sum), []float32{11, 22, 33, 44}; !slices.Equal(got, want) {
		t.Errorf("sum %v, want %v", got, want)
	}
	c.SetOutput(0, x) // input and output may be one value
	for range 2 {
		if err := c.Run(nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ort.View[float32](x), []float32{21, 42, 63, 84}; !slices.Equal(got, want) {
		t.Errorf("x %v, want %v", got, want)
	}
}

func TestOutputOfUnknownShape(t *testing.T) {
	env := open(t)
	c := call(t, load(t, env, nonZeroGraph()), []string{"in"}, []string{"out"})
	in := tensor(t, env, ort.Float32, []float32{0, 5, 0, 7}, 4)
	c.SetInput(0, in)
	for _, want := range [][]int64{{1, 3}, {0, 1, 3}} {
		if err := c.Run(nil); err != nil {
			t.Fatal(err)
		}
		out, err := c.Output(0)
		if err != nil {
			t.Fatal(err)
		}
		if got := ort.View[int64](out); !slices.Equal(got, want) || !slices.Equal(out.Shape(), []int64{1, int64(len(want))}) || out.Type() != ort.Int64 {
			t.Errorf("%v %v %v, want %v", out.Type(), out.Shape(), got, want)
		}
		if err := out.Reshape(int64(len(want)), 1); err == nil {
			t.Error("a value of the runtime's was reshaped")
		}
		out.Close()
		if _, err := c.Output(0); err == nil {
			t.Error("an output was taken twice")
		}
		ort.View[float32](in)[0] = 1
	}
	if err := c.Run(nil); err != nil { // nobody takes this one
		t.Fatal(err)
	}
}

func TestElementTypes(t *testing.T) {
	env := open(t)
	c := call(t, load(t, env, addGraph(float16Type)), []string{"x", "y"}, []string{"sum"})
	c.SetInput(0, tensor(t, env, ort.Float16, []uint16{0x3c00, 0x4000}, 1, 2)) // 1, 2
	c.SetInput(1, tensor(t, env, ort.Float16, []uint16{0x3c00, 0x3c00}, 1, 2))
	sum := tensor(t, env, ort.Float16, []uint16{}, 1, 2)
	c.SetOutput(0, sum)
	if err := c.Run(nil); err != nil {
		t.Fatal(err)
	}
	if got, want := ort.View[uint16](sum), []uint16{0x4000, 0x4200}; !slices.Equal(got, want) { // 2, 3
		t.Errorf("sum %04x, want %04x", got, want)
	}
	if ort.View[float32](sum) != nil || ort.View[int16](sum) != nil {
		t.Error("a float16 value was seen as another type")
	}
}

func TestRunErrors(t *testing.T) {
	env := open(t)
	s := load(t, env, addGraph(float32Type))
	good := tensor(t, env, ort.Float32, []float32{}, 1, 2)
	for _, test := range []struct {
		name   string
		x, sum *ort.Value
		says   []string
	}{
		{"input not set", nil, nil, []string{"input x is not set"}},
		{"wrong shape", tensor(t, env, ort.Float32, []float32{}, 1, 3), nil, []string{"x", "invalid argument"}},
		{"wrong rank", tensor(t, env, ort.Float32, []float32{}, 2), nil, []string{"rank", "x"}},
		{"wrong type", tensor(t, env, ort.Int64, []int64{}, 1, 2), nil, []string{"int64", "float"}},
		{"wrong output shape", good, tensor(t, env, ort.Float32, []float32{}, 2, 2), []string{"sum"}},
		{"wrong output type", good, tensor(t, env, ort.Int64, []int64{}, 1, 2), []string{"type"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := call(t, s, []string{"x", "y"}, []string{"sum"})
			c.SetInput(0, test.x)
			c.SetInput(1, good)
			c.SetOutput(0, test.sum)
			err := c.Run(nil)
			if err == nil {
				t.Fatal("it ran")
			}
			for _, word := range test.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
			var e *ort.Error
			if test.x != nil && (!errors.As(err, &e) || e.Code == 0) {
				t.Errorf("%#v has no code", err)
			}
		})
	}
	for _, test := range []struct {
		in, out []string
		says    string
	}{
		{[]string{"x", "z"}, []string{"sum"}, `no input "z", it has x, y`},
		{[]string{"x", "y"}, []string{"total"}, `no output "total", it has sum`},
		{[]string{"x", "x"}, []string{"sum"}, `"x" is named twice`},
		{[]string{"x", "y"}, nil, "no outputs"},
	} {
		if _, err := s.NewCall(test.in, test.out); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("NewCall(%q, %q): %v, want %q", test.in, test.out, err, test.says)
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	env := open(t)
	c := call(t, load(t, env, oneGraph("Neg")), []string{"in"}, []string{"out"})
	in := tensor(t, env, ort.Float32, make([]float32, 64), 64)
	out := tensor(t, env, ort.Float32, make([]float32, 64), 64)
	ro, err := env.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	c.SetInput(0, in)
	c.SetOutput(0, out)
	length := int64(0)
	step := func() {
		length = length%64 + 1
		if err := errors.Join(in.Reshape(length), out.Reshape(length), c.Run(ro)); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(200, step); n != 0 {
		t.Errorf("a step allocates %v times in Go, want 0", n)
	}
}

func BenchmarkStep(b *testing.B) {
	env := open(b)
	c := call(b, load(b, env, oneGraph("Neg")), []string{"in"}, []string{"out"})
	in, out := tensor(b, env, ort.Float32, make([]float32, 64), 64), tensor(b, env, ort.Float32, make([]float32, 64), 64)
	c.SetInput(0, in)
	c.SetOutput(0, out)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.Reshape(int64(i%64 + 1))
		out.Reshape(int64(i%64 + 1))
		if err := c.Run(nil); err != nil {
			b.Fatal(err)
		}
	}
}
