//go:build !race

package ortest

// Raced says that the race detector runs.
const Raced = false
