// The kernels as operators of ONNX Runtime, for graphs that engine/derive has written.
#ifndef SHAMMAH_CPU_OPERATORS_H
#define SHAMMAH_CPU_OPERATORS_H

#include "lora.h"

// A list of floats that a node needs: a bias, a table of the rotary embedding.
typedef struct {
    const float *values;
    size_t n;
} cpu_floats;

// What the operators of one session share: its weights and the scratch memory of the node that runs. One run at a time.
typedef struct cpu_graph cpu_graph;

enum { CPU_OPERATORS = 6 };

// The lists are copied, what they point to is not and must stay until cpu_graph_free. NULL without memory.
// A matrix of 32 bits is plain rows of (inputs) floats, for Embed alone.
cpu_graph *cpu_graph_new(const cpu_matrix *matrices, size_t n_matrices, const cpu_floats *floats, size_t n_floats, size_t threads);
void cpu_graph_free(cpu_graph *g);

// Low-rank additions to targets, which nodes name by number: those of target i are [first[i], first[i+1]).
typedef struct {
    const cpu_addition *additions;
    const uint32_t *first; // (targets + 1)
    size_t targets;
} cpu_adapter;

typedef struct {
    const cpu_adapter *adapter;
    float scale;
} cpu_use;

// What the next runs add: the first of lists equal parts of each node's rows has uses [0, ends[0]), the second [ends[0], ends[1]), and so on.
// Not during a run. The lists are copied, the adapters are not. false without memory, and then nothing is added.
bool cpu_graph_use(cpu_graph *g, const cpu_use *uses, const size_t *ends, size_t lists);

// The operators, each an OrtCustomOp.
const void *cpu_graph_operator(const cpu_graph *g, size_t i);

#endif
