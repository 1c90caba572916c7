//go:build coreml

package provider

import "github.com/shammah/shammah-engine/coreml"

// Build is the kind of hardware that this binary was built for.
const Build = "coreml"

func available() []Candidate {
	return []Candidate{{Name: "coreml", Provider: coreml.Options{}.Provider()}, cpu()}
}
