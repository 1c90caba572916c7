// The kernels as operators of ONNX Runtime, for graphs that engine/derive has written.
#ifndef SHAMMAH_CPU_OPERATORS_H
#define SHAMMAH_CPU_OPERATORS_H

#include "linear.h"

// A list of floats that a node needs: a bias, a table of the rotary embedding.
typedef struct {
    const float *values;
    size_t n;
} cpu_floats;

// What the operators of one session share: its weights and the scratch memory of the node that runs. One run at a time.
typedef struct cpu_graph cpu_graph;

enum { CPU_OPERATORS = 5 };

// The lists are copied, what they point to is not and must stay until cpu_graph_free. NULL without memory.
// A matrix of 32 bits is plain rows of (inputs) floats, for Embed alone.
cpu_graph *cpu_graph_new(const cpu_matrix *matrices, size_t n_matrices, const cpu_floats *floats, size_t n_floats, size_t threads);
void cpu_graph_free(cpu_graph *g);

// The operators, each an OrtCustomOp.
const void *cpu_graph_operator(const cpu_graph *g, size_t i);

#endif
