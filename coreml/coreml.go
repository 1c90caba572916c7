// Package coreml describes ONNX Runtime's CoreML execution provider as data: package ort does what it says.
package coreml

import "github.com/shammah/shammah-engine/ort"

// Name is what the runtime calls the provider.
const Name = "CoreMLExecutionProvider"

// Units says which of the machine's processors CoreML may use.
type Units string

const (
	All                Units = "ALL"
	CPUOnly            Units = "CPUOnly"
	CPUAndGPU          Units = "CPUAndGPU"
	CPUAndNeuralEngine Units = "CPUAndNeuralEngine"
)

// Options is how the provider runs. The zero value is the current model format on every unit.
type Options struct {
	Units        Units  // "" is All
	StaticShapes bool   // take only nodes whose shapes are known
	CacheDir     string // where compiled models are kept; "" compiles at each load
}

// Provider is the options as the runtime takes them.
func (o Options) Provider() ort.Provider {
	options := map[string]string{
		"ModelFormat":              "MLProgram",
		"MLComputeUnits":           string(All),
		"RequireStaticInputShapes": "0",
	}
	if o.Units != "" {
		options["MLComputeUnits"] = string(o.Units)
	}
	if o.StaticShapes {
		options["RequireStaticInputShapes"] = "1"
	}
	if o.CacheDir != "" {
		options["ModelCacheDirectory"] = o.CacheDir
	}
	return ort.Provider{Name: Name, Options: options}
}
