// Linear layers over int4 and int8 weights. Every rung computes the same values, bit for bit:
//
//   for each unit u of 32 inputs (16 where a block has 16), in order:
//       acc = fma((float)(sum over the unit of (code - zero point) q) * activation scale, weight scale, acc)
//   y = acc * factor of the output (a power of two), and one addition more where there is a bias, or what adapters add (lora.h)
//
// so that a result does not depend on how many rows there are, where its row lies, how tiles are split among threads, or on the
// rung. Nothing here allocates, and all of it may run on several threads at once.
#ifndef SHAMMAH_CPU_LINEAR_H
#define SHAMMAH_CPU_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#define CPU_TILE 16 // outputs of a tile

// A weight matrix, packed: y[n] = sum over k of w[n][k] x[k], n < outputs, k < inputs. Tile t holds outputs 16t to 16t+15:
//
// 1. codes. 4 bits: 64 bytes for each 8 inputs from k0 on; byte 4n+j (n < 16, j < 4) has the code of output n and input k0+j in
//    its low half and that of input k0+4+j in its high one. 8 bits: 64 bytes for each 4 inputs, byte 4n+j for input k0+j.
// 2. scales: for each block 16 float16, weight scale / factor; filled up to 64 bytes.
// 3. with zeros: for each block 16 zero points of one byte; filled up to 64 bytes.
// 4. factors: 16 float32, powers of two, chosen so that float16's range never hurts.
//
// Outputs that the last tile has too many have zero points for codes, and scale 0.
typedef struct {
    uint32_t outputs, inputs; // inputs: a multiple of block
    uint16_t block;           // inputs that share a scale: 16, 32, 64 or 128
    uint8_t bits;             // of a code: 4 or 8
    uint8_t zeros;            // 1: zero points are stored; 0: all are 8 (4 bits) or 128 (8 bits)
    uint32_t apart;           // bytes from a tile to the next one, where tiles of another matrix lie between; 0: cpu_tile_bytes
    const uint8_t *tiles;     // 64-byte aligned, cpu_tile_bytes each
} cpu_matrix;

size_t cpu_tile_bytes(const cpu_matrix *m);

// Quantised activations, rows one after the other, unit 32, or 16 for a matrix whose block is 16. A unit with a NaN or an
// infinity has scale NaN, so that whatever is computed from it is NaN.
typedef struct {
    const int8_t *q;    // (rows, inputs), -127 to 127
    const float *scale; // (rows, inputs / unit)
    const int32_t *sum; // (rows, inputs / unit): -8 times the sum of q, where the kernels start
    size_t rows, inputs, unit;
} cpu_activations;

// Quantises one row of n floats, a multiple of unit.
void cpu_quantise(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum);

// Rows [row, row+rows) by tiles [tile, tile+tiles): y[r*stride + n] for row r and output n, counted from the first of all.
// Outputs that are not there are not written. bias (outputs) may be NULL. sums, unless NULL, is added instead of it: (tiles, rows, 16), counted from this
// call's first tile and row, bias included.
void cpu_linear(const cpu_matrix *m, size_t tile, size_t tiles, const cpu_activations *a, size_t row, size_t rows,
                const float *bias, const float *sums, float *y, size_t stride);

enum { CPU_SILU, CPU_GELU_TANH, CPU_GELU_ERF };

// The same range of act(gate) * up. Both matrices have the same outputs, inputs and, as far as activations go, unit.
void cpu_gated(const cpu_matrix *gate, const cpu_matrix *up, int act, size_t tile, size_t tiles, const cpu_activations *a, size_t row, size_t rows,
               const float *gate_bias, const float *up_bias, const float *gate_sums, const float *up_sums, float *y, size_t stride);

// The weights (inputs) of output n: (code - zero point) * scale * factor.
void cpu_unpack(const cpu_matrix *m, size_t n, float *x);

// What MatMulNBits has for weights.
typedef struct {
    const uint8_t *codes; // (outputs, inputs / block, block * bits / 8), the first input in the low half
    const void *scales;   // (outputs, inputs / block): float32, or float16 if half
    int half;
    const uint8_t *zeros; // NULL; or (outputs, inputs / block), or if packed_zeros (outputs, ceil(inputs / block * bits / 8))
    int packed_zeros;
} cpu_codes;

// Packs tiles [tile, tile+tiles) into the memory of all tiles; threads pack ranges of their own. 0, or 1 where a scale is not
// finite.
int cpu_pack(const cpu_matrix *m, uint8_t *into, size_t tile, size_t tiles, const cpu_codes *c);

// The same from float weights (outputs, inputs), w[n][k] at w[n*stride_n + k*stride_k], quantised symmetrically by blocks: 8
// bits with scale max|w| / 127, 4 bits as ONNX Runtime's quantiser has it. m has no zeros. 1 where a weight is NaN or infinite.
int cpu_pack_floats(const cpu_matrix *m, uint8_t *into, size_t tile, size_t tiles, const float *w, size_t stride_n,
                    size_t stride_k);

#endif
