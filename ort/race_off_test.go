//go:build !race

package ort_test

const raced = false
