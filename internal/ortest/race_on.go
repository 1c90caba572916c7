//go:build race

package ortest

// Raced says that the race detector runs, which keeps memory of its own for what it has seen.
const Raced = true
