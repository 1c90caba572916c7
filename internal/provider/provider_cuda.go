//go:build cuda && !coreml

package provider

// Build is the kind of hardware that this binary was built for.
const Build = CUDA
