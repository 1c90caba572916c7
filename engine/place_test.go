package engine

import (
	"testing"

	"github.com/shammah/shammah-engine/cpu"
)

// Matrices lie one after the other, those of a pair in turn, and nowhere two in one place.
func TestPlace(t *testing.T) {
	small, large := cpu.Matrix{Outputs: 40, Inputs: 32, Block: 32, Bits: 4}, cpu.Matrix{Outputs: 40, Inputs: 32, Block: 32, Bits: 8}
	list := []cpu.Packed{{Matrix: large}, {Matrix: cpu.Matrix{Outputs: 40, Inputs: 32, Bits: 32}}, {Matrix: small}, {Matrix: small}, {Matrix: large}}
	at, total := place(list, [][2]int{{4, 2}})
	s, l := small.TileBytes(), large.TileBytes()
	want := []struct{ at, apart int }{{0, l}, {0, 0}, {3*l + l, s + l}, {3*l + 3*(s+l), s}, {3 * l, s + l}}
	for i, w := range want {
		if at[i] != w.at || list[i].Apart != w.apart {
			t.Errorf("matrix %d: at %d, tiles %d apart; want %d, %d", i, at[i], list[i].Apart, w.at, w.apart)
		}
	}
	if want := 3*l + 3*(s+l) + 3*s; total != want {
		t.Errorf("got %d bytes in all, want %d", total, want)
	}
}
