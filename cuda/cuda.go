// Package cuda describes ONNX Runtime's CUDA execution provider as data: package ort does what it says.
package cuda

import (
	"strconv"

	"github.com/shammah/shammah-engine/ort"
)

// Name is what the runtime calls the provider.
const Name = "CUDAExecutionProvider"

// Options is how the provider runs. The zero value is the first device with the runtime's own defaults, but without TF32, which costs accuracy.
type Options struct {
	Device      int
	MemoryLimit int64 // bytes of the device's memory; 0 is no limit
	TF32        bool  // matrix products with 10-bit mantissas
	Graph       bool  // capture a step as a CUDA graph and replay it; shapes and addresses must not change
}

// Provider is the options as the runtime takes them.
func (o Options) Provider() ort.Provider {
	options := map[string]string{
		"device_id":                 strconv.Itoa(o.Device),
		"arena_extend_strategy":     "kSameAsRequested",
		"do_copy_in_default_stream": "1",
		"use_tf32":                  digit(o.TF32),
		"enable_cuda_graph":         digit(o.Graph),
	}
	if o.MemoryLimit > 0 {
		options["gpu_mem_limit"] = strconv.FormatInt(o.MemoryLimit, 10)
	}
	return ort.Provider{Name: Name, Options: options, Libraries: libraries()}
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// libraries is what the provider needs from NVIDIA, in the order in which one needs the other. They are opened first, because the provider
// itself has no path to them and a missing one can then be named.
func libraries() []string {
	return []string{"libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcuda.so.1"}
}
