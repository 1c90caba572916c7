package engine

import "fmt"

// Agree compares what two open models of the same files compute: the logits after 1, 17, 63 and 64 tokens, want's being right.
// The error says how far they are apart, if that is further than rounding goes.
func Agree(want, got *Model) (Agreement, error) {
	right, err := want.probe()
	if err != nil {
		return Agreement{}, err
	}
	found, err := got.probe()
	if err != nil {
		return Agreement{}, err
	}
	a := compare(right, found)
	if !a.ok() {
		return a, fmt.Errorf("engine: compare %s on %s with %s: they differ: %s; expected a cosine of %.2f and an error of %.2f at most",
			want.spec.Name, got.Provider(), want.Provider(), a, cosineMin, errorMax)
	}
	return a, nil
}
