package ort

import (
	"slices"
	"strconv"
	"strings"
)

// parseVersion reads the numbers of a version such as "1.28.1" or "1.33.0-dev"; nil when it does not begin with one.
func parseVersion(s string) []int {
	var v []int
	for part := range strings.SplitSeq(s, ".") {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		number := part
		if digits >= 0 {
			number = part[:digits]
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			break
		}
		v = append(v, n)
		if digits >= 0 {
			break
		}
	}
	return v
}

func versionLess(a, b []int) bool { return slices.Compare(a, b) < 0 }

// fileVersion reads the version in a file's name: libonnxruntime.so.1.32.0, libonnxruntime.1.32.0.dylib; nil when it has none.
func fileVersion(name string) []int {
	name = strings.TrimSuffix(name, ".dylib")
	for _, prefix := range []string{"libonnxruntime.so.", "libonnxruntime."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return parseVersion(rest)
		}
	}
	return nil
}
