/* SPDX-License-Identifier: MIT
 *
 * Shared by the kernel files.  They are compiled once per level with VMT_CPU_LEVEL = base, avx2, …:
 * KERNEL(gelu) is kernel_gelu_avx2.  Loops are written so that the compiler makes vectors of them;
 * a sum names itself in `omp simd reduction`, which allows its reordering, in the same order on
 * each run.
 */
#ifndef VMT_CPU_KERNEL_H
#define VMT_CPU_KERNEL_H

#include "backend/cpu/cpu_kernels.h"

#include <math.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* Floats of a vector register. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

/* Vectors of a packed panel: with six rows of them, their sums fill the registers. */
#ifdef __AVX512F__
enum { PANEL_VECTORS = 4 };
#else
enum { PANEL_VECTORS = 2 };
#endif
enum { PANEL = PANEL_VECTORS * LANES };

#define KERNEL_PASTE2(a, b, c) a##b##_##c
#define KERNEL_PASTE(a, b, c) KERNEL_PASTE2(a, b, c)
#define KERNEL(name) KERNEL_PASTE(kernel_, name, VMT_CPU_LEVEL)

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* eˣ within 2 ulp; 0 below -87 (no subnormals), e^88.3 above, NaN stays.
 * x = n ln 2 + r, |r| <= ln 2 / 2; eʳ by the minimax polynomial of Cephes; 2ⁿ goes into the
 * exponent bits: adding 1.5·2²³ leaves n in the low bits of the sum. */
static inline float exp_of(float x)
{
    const float magic = 0x1.8p23f;
    const float c = x > 88.3f ? 88.3f : x;
    const float t = c * 1.44269504f + magic;
    const float n = t - magic;
    const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;

    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const float e = float_of(bits_of(p) + (bits_of(t) << 23));
    return c < -87.0f ? 0.0f : (c != c ? c : e);
}

#define DECLARE(result, name, ...) result KERNEL(name)(__VA_ARGS__)

DECLARE(void, f32_of_bf16, float *y, const uint16_t *x, int64_t n);
DECLARE(void, f32_of_f16, float *y, const uint16_t *x, int64_t n);
DECLARE(void, bf16_of_f32, uint16_t *y, const float *x, int64_t n);
DECLARE(void, gelu, float *y, const float *x, int64_t n);
DECLARE(void, gelu_bwd, float *dx, const float *dy, const float *x, int64_t n);
DECLARE(void, silu, float *y, const float *x, int64_t n);
DECLARE(void, gelu_gate, float *y, const float *x, const float *gate, int64_t n);
DECLARE(void, lincomb, float *y, const float *x, const float *z, float a, float b, int64_t n);
DECLARE(void, add, float *y, const float *x, const float *z, int64_t n);
DECLARE(void, mul, float *y, const float *x, const float *z, int64_t n);
DECLARE(void, mul_add, float *y, const float *x, const float *g, const float *z, int64_t n);
DECLARE(void, scale, float *y, const float *x, float a, int64_t n);
DECLARE(void, norm, float *y, const float *x, const float *factor, const float *offset,
        float plus_one, double eps, int64_t n);
DECLARE(void, norm_bwd_acc, float *dx, const float *dy, const float *x, const float *factor,
        float plus_one, double eps, int64_t n);
DECLARE(void, rms_rope, float *y, const float *x, const float *weight, const float *cosines,
        const float *sines, double eps, int64_t heads, int64_t head_dim);
DECLARE(void, rms_rope_bwd, float *dx, const float *dy, const float *x, const float *weight,
        const float *cosines, const float *sines, double eps, int64_t heads, int64_t head_dim);
DECLARE(void, rms_channel, float *y, const float *x, const float *gamma, bool silu, int64_t rows,
        int64_t n);
DECLARE(void, softmax, float *p, float scale, const float *bias, float *max, float *sum, int64_t n);
DECLARE(void, softmax_bwd, float *s, float *dp, float scale, float lse, float delta, int64_t n);
DECLARE(float, dot, const float *x, const float *y, int64_t n);
DECLARE(void, pack_rows, uint32_t *units, int64_t unit_row, cpu_rows x, int64_t rows, int64_t cols,
        bool pairs);
DECLARE(void, pack_across, uint32_t *units, cpu_rows x, int64_t rows, int64_t cols, bool pairs);
DECLARE(void, pack_along, uint32_t *units, int64_t unit_panel, cpu_rows x, int64_t rows,
        int64_t cols, bool pairs);
DECLARE(void, product, float *c, const cpu_product *p);
DECLARE(void, softmax_next, void *p, float *s, float scale, const float *bias, float *max,
        float *sum, float *factor, int64_t n, bool pairs);
DECLARE(void, softmax_grad, float *s, float *dp, int64_t row, float scale, const float *lse,
        const float *delta, int64_t n, uint32_t *p, uint32_t *ds, uint16_t *ds_rows, bool pairs);
DECLARE(void, flow_mean, float *mean, const float *z, int64_t row, float scale, const float *u,
        const float *v, int64_t count, int64_t queries);
DECLARE(void, flow_grad, float *z, int64_t row, float scale, float factor, const float *from,
        const float *u, const float *v, int64_t count, int64_t queries);

#endif
