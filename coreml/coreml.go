// Package coreml describes ONNX Runtime's CoreML execution provider as data, and says what of a graph it cannot take: package ort does
// what it says.
package coreml

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shammah/shammah-engine/ort"
)

// Name is what the runtime calls the provider.
const Name = "CoreMLExecutionProvider"

// Format is how graphs are handed to CoreML.
type Format string

// The zero Format is MLProgram.
const (
	MLProgram     Format = "MLProgram"
	NeuralNetwork Format = "NeuralNetwork" // for systems before macOS 12; it knows fewer operators
)

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
	Format       Format // "" is MLProgram
	Units        Units  // "" is All
	StaticShapes bool   // take only nodes whose shapes are known
	CacheDir     string // where compiled models are kept, a folder for each model (see Key); "" compiles at each load
	LowPrecision bool   // sums in float16 on the GPU
}

// Provider is the options as the runtime takes them.
func (o Options) Provider() ort.Provider {
	options := map[string]string{
		"ModelFormat":              string(MLProgram),
		"MLComputeUnits":           string(All),
		"RequireStaticInputShapes": "0",
	}
	if o.Format != "" {
		options["ModelFormat"] = string(o.Format)
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
	if o.LowPrecision {
		options["AllowLowPrecisionAccumulationOnGPU"] = "1"
	}
	return ort.Provider{Name: Name, Options: options}
}

// Keys are the options that Parse takes, with what each means.
func Keys() map[string]string {
	return map[string]string{
		"units":     "what CoreML may use: all, cpu, gpu (and the CPU), ane (the neural engine, and the CPU)",
		"format":    "program or network",
		"static":    "take only what has fixed shapes: on or off",
		"precision": "of sums on the GPU: full or low",
	}
}

// Parse reads options as they are written on a command line.
func Parse(values map[string]string) (o Options, err error) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		switch key {
		case "units":
			o.Units, err = pick(key, value, map[string]Units{"all": All, "cpu": CPUOnly, "gpu": CPUAndGPU, "ane": CPUAndNeuralEngine})
		case "format":
			o.Format, err = pick(key, value, map[string]Format{"program": MLProgram, "network": NeuralNetwork})
		case "static":
			o.StaticShapes, err = pick(key, value, map[string]bool{"on": true, "off": false})
		case "precision":
			o.LowPrecision, err = pick(key, value, map[string]bool{"full": false, "low": true})
		default:
			err = fmt.Errorf("coreml: option %q: there is none, expected one of %s", key, strings.Join(slices.Sorted(maps.Keys(Keys())), ", "))
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// pick is the value of that name.
func pick[T any](key, name string, values map[string]T) (T, error) {
	v, ok := values[name]
	if !ok {
		return v, fmt.Errorf("coreml: option %s is %q, expected one of %s", key, name, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
	return v, nil
}
