package cuda

import (
	"errors"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	// What ONNX Runtime 1.31.1 says beside a libcuda.so.1 that has no driver behind it.
	const real = `ort: provider CUDA: : 1 : FAIL : provider_options_utils.h:187 Parse Failed to parse provider option "device_id": CUDA failure 35: CUDA driver version is ` +
		`insufficient for CUDA runtime version ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/cuda_execution_provider_info.cc ; line=70 ; expr=cudaGetDeviceCount(&num_devices); (fail)`
	for _, c := range []struct{ words, want string }{
		{real, "cuda: no NVIDIA driver, or one that is too old: install version 580 or newer (CUDA says 35: CUDA driver version is insufficient for CUDA runtime version)"},
		{"CUDA failure 100: no CUDA-capable device is detected ; GPU=0", "no NVIDIA GPU is seen"},
		{"CUDA failure 2: out of memory", "memory is full"},
		{"CUDA failure 719: unspecified launch failure ; hostname=vm", "cuda: the CUDA library failed (CUDA says 719: unspecified launch failure)"},
		{"no such file", "no such file"},
	} {
		err := errors.New(c.words)
		got := Explain(err)
		if !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "hostname") || !errors.Is(got, err) {
			t.Errorf("%q: %q, want %q, without the machine's name, around the same error", c.words, got, c.want)
		}
	}
	if Explain(nil) != nil {
		t.Error("no error is explained")
	}
}
