//go:build race

package ort_test

// raced: the race detector keeps memory of its own for what it has seen.
const raced = true
