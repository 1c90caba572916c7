// Package cuda describes ONNX Runtime's CUDA execution provider as data: package ort does what it says.
package cuda

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/shammah/shammah-engine/ort"
)

// Name is what the runtime calls the provider.
const Name = "CUDAExecutionProvider"

// Arena is how the provider's memory grows.
type Arena string

// The zero Arena is SameAsRequested: with buffers that are made once, doubling would only take what others need.
const (
	SameAsRequested Arena = "kSameAsRequested"
	NextPowerOfTwo  Arena = "kNextPowerOfTwo"
)

// Options is how the provider runs. The zero value is the first device with the runtime's own defaults, but without TF32, which costs accuracy.
type Options struct {
	Device      int
	MemoryLimit int64 // bytes of the device's memory for the arena; 0 is no limit
	Arena       Arena
	TF32        bool    // matrix products with 10-bit mantissas
	Graph       bool    // record a one-token step as a CUDA graph and replay it
	Stream      uintptr // a cudaStream_t of the caller's on which to compute; 0 is one of the provider's own
	Folder      string  // where NVIDIA's libraries are looked for first
}

// Provider is the options as the runtime takes them, with NVIDIA's libraries as m has them.
func (o Options) Provider(m Machine) ort.Provider {
	options := map[string]string{
		"device_id":                 strconv.Itoa(o.Device),
		"arena_extend_strategy":     string(SameAsRequested),
		"do_copy_in_default_stream": "1",
		"use_tf32":                  digit(o.TF32),
		"enable_cuda_graph":         digit(o.Graph),
	}
	if o.Arena != "" {
		options["arena_extend_strategy"] = string(o.Arena)
	}
	if o.MemoryLimit > 0 {
		options["gpu_mem_limit"] = strconv.FormatInt(o.MemoryLimit, 10)
	}
	if o.Stream != 0 {
		options["has_user_compute_stream"] = "1"
		options["user_compute_stream"] = strconv.FormatUint(uint64(o.Stream), 10)
	}
	return ort.Provider{Name: Name, Options: options, Libraries: m.Libraries(o.Folder)}
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Keys are the options that Parse takes, with what each means.
func Keys() map[string]string {
	return map[string]string{
		"device":    "number of the GPU, from 0",
		"memory":    "most memory of the GPU for the runtime's arena, such as 8GiB",
		"arena":     "how the arena grows: same (as requested) or double",
		"graph":     "record a one-token step as a CUDA graph and replay it: on or off",
		"tf32":      "matrix products with 10-bit mantissas: on or off",
		"libraries": "folder with NVIDIA's libraries",
	}
}

// Parse reads options as they are written on a command line.
func Parse(values map[string]string) (o Options, err error) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, expected := values[key], ""
		switch key {
		case "device":
			n, err := strconv.ParseUint(value, 10, 16)
			if o.Device = int(n); err != nil {
				expected = "a number from 0 to 65535"
			}
		case "memory":
			n, err := humanize.ParseBytes(value)
			if o.MemoryLimit = int64(n); err != nil || n == 0 || n > math.MaxInt64 {
				expected = "a size such as 8GiB"
			}
		case "arena":
			switch value {
			case "same":
				o.Arena = SameAsRequested
			case "double":
				o.Arena = NextPowerOfTwo
			default:
				expected = "same or double"
			}
		case "graph":
			if o.Graph = value == "on"; !o.Graph && value != "off" {
				expected = "on or off"
			}
		case "tf32":
			if o.TF32 = value == "on"; !o.TF32 && value != "off" {
				expected = "on or off"
			}
		case "libraries":
			if o.Folder = value; value == "" {
				expected = "a folder"
			}
		default:
			return o, fmt.Errorf("cuda: option %q: there is none, expected one of %s", key, strings.Join(slices.Sorted(maps.Keys(Keys())), ", "))
		}
		if expected != "" {
			return o, fmt.Errorf("cuda: option %s is %q, expected %s", key, value, expected)
		}
	}
	return o, nil
}
