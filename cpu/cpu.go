// Package cpu computes what a language model spends its time in, in C for the vector units that the machine has: products with
// int4 and int8 weights ([Matrix]), attention over a cache, and the best of a row of logits: argmax, top-k selection and softmax over
// what was selected. [Graph] makes the first two operators of ONNX Runtime.
//
// # Rows
//
// A row is clean when it holds no NaN and no +Inf. -Inf is allowed: it is how a token is masked. Only finite values can win;
// NaN never does, whatever its sign. Of equal values the lowest index wins, and -0 equals +0. ok is false when the row is not
// clean or holds nothing finite, an empty row among these; what was found in it is returned all the same, because it helps an
// error message, but it is no answer.
//
// # The ladder
//
// Each kernel exists several times: for AVX-512 with and without VNNI, for AVX2 with FMA and for AVX-VNNI, for NEON with and without dot
// products, and in plain C, which is what the others have to agree with. At its first use the package takes the best rung that the processor has and the operating system
// supports, or the one that the environment variable SHAMMAH_CPU_RUNG names; a name that this machine cannot execute is passed
// over here, and [SetRung] says so. All rungs give the same results to the last bit, those of Softmax included, so that a seed
// means the same text on every machine that computes the same logits.
//
// All kernels may be called from several goroutines at once, allocate nothing, and keep no memory of the caller; a Graph does, and has one
// run at a time.
package cpu

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -I${SRCDIR}/../build/include
#cgo LDFLAGS: -lm
#cgo noescape cpu_argmax_f32
#cgo nocallback cpu_argmax_f32
#cgo noescape cpu_argmax_f16
#cgo nocallback cpu_argmax_f16
#cgo noescape cpu_topk
#cgo nocallback cpu_topk
#cgo noescape cpu_softmax
#cgo nocallback cpu_softmax
#include "kernels.h"
*/
import "C"

import "unsafe"

// Argmax returns the index of the largest finite value of x, a row of (vocab) logits, or -1 if it has none.
func Argmax(x []float32) (index int, ok bool) {
	r := C.cpu_argmax_f32((*C.float)(unsafe.SliceData(x)), C.size_t(len(x)))
	return int(r.found), bool(r.ok)
}

// ArgmaxF16 is Argmax for a row of (vocab) half-precision logits, each given as its IEEE 754 bits.
func ArgmaxF16(x []uint16) (index int, ok bool) {
	r := C.cpu_argmax_f16((*C.uint16_t)(unsafe.SliceData(x)), C.size_t(len(x)))
	return int(r.found), bool(r.ok)
}

// TopK writes the k largest finite values of x, a row of (vocab) logits, to value and their indices to index, sorted by value
// in falling order and equal values by index. It returns how many it wrote: less than k when x holds fewer finite values or
// index or value have less room.
//
// It reads the row twice, whatever the order of its values; the time grows slowly with k up to about a thousand.
func TopK(x []float32, k int, index []int32, value []float32) (n int, ok bool) {
	k = max(0, min(k, len(x), len(index), len(value)))
	r := C.cpu_topk((*C.float)(unsafe.SliceData(x)), C.size_t(len(x)), C.size_t(k),
		(*C.int32_t)(unsafe.SliceData(index)), (*C.float)(unsafe.SliceData(value)))
	return int(r.found), bool(r.ok)
}

// Softmax replaces each value of x by exp(scale * (x - max)) / sum. Scale is positive, the reciprocal of the temperature;
// an infinite one leaves the largest values alone with equal shares. A value of -Inf becomes 0.
//
// The exponent is computed in float32, difference and product each rounded once; to its exact exponential the relative error
// of a result is at most 2e-7 down to 2^-126; a smaller one is less precise or 0. The sum is taken in float64, so that the
// results add up to 1 within the same error. If x has no largest finite value as Argmax has it, or scale is not positive, every value
// becomes NaN.
func Softmax(x []float32, scale float32) {
	C.cpu_softmax((*C.float)(unsafe.SliceData(x)), C.size_t(len(x)), C.float(scale))
}
