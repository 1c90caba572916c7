// Package lora reads LoRA adapters.
package lora

// Adapter is a checked adapter: low-rank additions to a model's matrices.
type Adapter struct {
	Rank    int      // the largest of its modules'
	Modules []Module // sorted by name
}

// Module is the addition to one matrix: y += Scale * B (A x).
type Module struct {
	Name            string // PEFT's module name without prefix: "model.layers.0.self_attn.q_proj"
	Rank            int
	Inputs, Outputs int
	Scale           float32   // alpha / rank, or alpha / sqrt(rank) with rslora
	A               []float32 // (rank, inputs)
	B               []float32 // (outputs, rank)
}
