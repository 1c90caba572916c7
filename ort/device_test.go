package ort_test

import (
	"slices"
	"testing"

	"github.com/shammah/shammah-engine/ort"
)

// What a run leaves in a device's memory is what the next one reads there. The CPU stands in for a device, as every machine has it.
func TestDeviceTensor(t *testing.T) {
	env := open(t)
	s := load(t, env, oneGraph("Neg"))
	there, err := s.NewDeviceTensor(ort.Device{Name: "Cpu"}, ort.Float32, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if ort.View[float32](there) != nil {
		t.Error("the memory of a device was seen")
	}
	c := call(t, s, []string{"in"}, []string{"out"})
	in, out := tensor(t, env, ort.Float32, []float32{1, 2}, 2), tensor(t, env, ort.Float32, []float32{0, 0}, 2)
	if err := there.Reshape(2); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]*ort.Value{{in, there}, {there, out}} {
		c.SetInput(0, step[0])
		c.SetOutput(0, step[1])
		if err := c.Run(nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := ort.View[float32](out); !slices.Equal(got, []float32{1, 2}) {
		t.Errorf("there and back: %v", got)
	}
	if err := there.Reshape(5); err == nil {
		t.Error("a shape that does not fit was taken")
	}
	if v, err := s.NewDeviceTensor(ort.Device{Name: "Abacus"}, ort.Float32, 4); err == nil {
		v.Close()
		t.Error("a tensor was made on a device that does not exist")
	}
}
