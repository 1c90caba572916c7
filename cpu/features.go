package cpu

import "golang.org/x/sys/cpu"

// Features names the vector extensions of this processor that matter to inference, ours and the runtime's, as far as the
// operating system tells. It is meant for reports; the ladder decides for itself.
func Features() []string {
	var names []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"sse4.2", cpu.X86.HasSSE42},
		{"avx", cpu.X86.HasAVX},
		{"avx2", cpu.X86.HasAVX2},
		{"fma", cpu.X86.HasFMA},
		{"avx-vnni", cpu.X86.HasAVXVNNI},
		{"avx512f", cpu.X86.HasAVX512F},
		{"avx512bw", cpu.X86.HasAVX512BW},
		{"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512-vnni", cpu.X86.HasAVX512VNNI},
		{"avx512-bf16", cpu.X86.HasAVX512BF16},
		{"amx-int8", cpu.X86.HasAMXInt8},
		{"amx-bf16", cpu.X86.HasAMXBF16},
		{"asimd", cpu.ARM64.HasASIMD},
		{"asimd-fp16", cpu.ARM64.HasASIMDHP},
		{"dotprod", cpu.ARM64.HasASIMDDP},
		{"i8mm", cpu.ARM64.HasI8MM},
		{"sve", cpu.ARM64.HasSVE},
		{"sve2", cpu.ARM64.HasSVE2},
	} {
		if f.has {
			names = append(names, f.name)
		}
	}
	return names
}
