//go:build cuda && !coreml

package provider

import (
	"os"

	"github.com/shammah/shammah-engine/cuda"
)

// Build is the kind of hardware that this binary was built for.
const Build = "cuda"

func available() []Candidate {
	return []Candidate{{Name: "cuda", Provider: cuda.Options{}.Provider(cuda.Machine{Root: os.DirFS("/"), Env: os.Getenv})}, cpu()}
}
