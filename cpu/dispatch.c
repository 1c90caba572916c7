// The ladder: which kernels run on this machine, chosen once and kept in the only global of the package.
#include "attention_kernels.h"
#include "rungs.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

// CPUID is asked here and not through __builtin_cpu_supports, because clang's needs a run-time library that not every
// toolchain has: under zig's it is there and always says no.
struct cpuid {
    unsigned eax, ebx, ecx, edx;
};

static struct cpuid cpuid(unsigned leaf) {
    struct cpuid c = {0, 0, 0, 0};
    __get_cpuid_count(leaf, 0, &c.eax, &c.ebx, &c.ecx, &c.edx);
    return c;
}

// Whether the system saves all these registers when it switches threads. Darwin admits to those of AVX-512 only in a thread
// that has used them, and so gets AVX2.
static bool saved(unsigned state) {
    if (!(cpuid(1).ecx & bit_OSXSAVE)) {
        return false;
    }
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

#define STATE_AVX 0x06    // xmm, ymm
#define STATE_AVX512 0xe6 // those, mask registers, and both parts of zmm

static bool avx2_runs(void) {
    return saved(STATE_AVX) && cpuid(7).ebx & bit_AVX2 && cpuid(1).ecx & bit_FMA && cpuid(1).ecx & bit_F16C;
}

static bool avx512_runs(void) {
    const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    return avx2_runs() && saved(STATE_AVX512) && (cpuid(7).ebx & wanted) == wanted;
}

static bool avx512vnni_runs(void) {
    return avx512_runs() && cpuid(7).ebx & bit_AVX512VL && cpuid(7).ecx & bit_AVX512VNNI;
}

static bool avxvnni_runs(void) {
    struct cpuid c = {0, 0, 0, 0};
    __get_cpuid_count(7, 1, &c.eax, &c.ebx, &c.ecx, &c.edx);
    return avx2_runs() && c.eax & 1 << 4;
}
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

static bool neondot_runs(void) {
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, NULL, 0) == 0 && has;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

static bool neondot_runs(void) { return getauxval(AT_HWCAP) & 1ul << 20; } // HWCAP_ASIMDDP
#elif defined(__aarch64__)
static bool neondot_runs(void) { return false; }
#endif

static bool always(void) { return true; }

static const struct cpu_rung ladder[] = {
#if defined(__x86_64__)
    {"avx512vnni", avx512vnni_runs, cpu_argmax_f32_avx512, cpu_argmax_f16_avx512, cpu_topk_avx512, cpu_softmax_avx512,
     &cpu_attention_avx512, &linear_avx512vnni},
    {"avx512", avx512_runs, cpu_argmax_f32_avx512, cpu_argmax_f16_avx512, cpu_topk_avx512, cpu_softmax_avx512,
     &cpu_attention_avx512, &linear_avx2},
    {"avxvnni", avxvnni_runs, cpu_argmax_f32_avx2, cpu_argmax_f16_avx2, cpu_topk_avx2, cpu_softmax_avx2, &cpu_attention_avx2, &linear_avxvnni},
    {"avx2", avx2_runs, cpu_argmax_f32_avx2, cpu_argmax_f16_avx2, cpu_topk_avx2, cpu_softmax_avx2, &cpu_attention_avx2, &linear_avx2},
#elif defined(__aarch64__) // NEON is part of the architecture
    {"neondot", neondot_runs, cpu_argmax_f32_neon, cpu_argmax_f16_neon, cpu_topk_neon, cpu_softmax_neon, &cpu_attention_neon, &linear_neondot},
    {"neon", always, cpu_argmax_f32_neon, cpu_argmax_f16_neon, cpu_topk_neon, cpu_softmax_neon, &cpu_attention_neon, &linear_neon},
#endif
    {"plain", always, cpu_argmax_f32_plain, cpu_argmax_f16_plain, cpu_topk_plain, cpu_softmax_plain, &cpu_attention_plain, &linear_plain},
};

static _Atomic(const struct cpu_rung *) in_use;

static const struct cpu_rung *rung_at(size_t i) {
    for (size_t j = 0; j < sizeof ladder / sizeof *ladder; j++) {
        if (ladder[j].runs() && i-- == 0) {
            return &ladder[j];
        }
    }
    return NULL;
}

// The best rung, or the one that the environment names, if this machine can execute it.
static const struct cpu_rung *choose(void) {
    const char *wanted = getenv("SHAMMAH_CPU_RUNG");
    const struct cpu_rung *rung;
    for (size_t i = 0; wanted && (rung = rung_at(i)); i++) {
        if (strcmp(rung->name, wanted) == 0) {
            return rung;
        }
    }
    return rung_at(0);
}

// The tables are constant, so the pointer is all that threads have to agree on: a relaxed load costs nothing.
const struct cpu_rung *cpu_rung_now(void) {
    const struct cpu_rung *r = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (!r) {
        const struct cpu_rung *chosen = choose();
        // Whoever comes first decides, so that a choice never overwrites cpu_rung_set; r is then what is there.
        if (atomic_compare_exchange_strong(&in_use, &r, chosen)) {
            r = chosen;
        }
    }
    return r;
}

const char *cpu_rung_name(size_t i) {
    const struct cpu_rung *r = rung_at(i);
    return r ? r->name : NULL;
}

const char *cpu_rung_in_use(void) { return cpu_rung_now()->name; }

void cpu_rung_set(size_t i) {
    const struct cpu_rung *r = rung_at(i);
    if (r) {
        atomic_store(&in_use, r);
    }
}

const struct cpu_attention_rung *cpu_attention_in_use(void) { return cpu_rung_now()->attention; }

cpu_result cpu_argmax_f32(const float *x, size_t n) { return cpu_rung_now()->argmax_f32(x, n); }

cpu_result cpu_argmax_f16(const uint16_t *x, size_t n) { return cpu_rung_now()->argmax_f16(x, n); }

cpu_result cpu_topk(const float *x, size_t n, size_t k, int32_t *index, float *value) {
    return cpu_rung_now()->topk(x, n, k, index, value);
}

void cpu_softmax(float *x, size_t n, float scale) {
    const struct cpu_rung *r = cpu_rung_now();
    cpu_result top = r->argmax_f32(x, n);
    if (!top.ok || !(scale > 0)) {
        for (size_t i = 0; i < n; i++) {
            x[i] = NAN;
        }
        return;
    }
    float best = x[top.found];
    if (scale == INFINITY) { // 0 * Inf would be NaN: the same result out of values that are the best or masked
        for (size_t i = 0; i < n; i++) {
            x[i] = x[i] == best ? 0 : -INFINITY;
        }
        best = 0;
        scale = 1;
    }
    r->softmax(x, n, best, scale);
}
