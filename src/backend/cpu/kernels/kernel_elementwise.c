/* SPDX-License-Identifier: MIT
 *
 * Elementwise kernels and conversions.  Outputs may be inputs (element by element), so no pointer
 * is restrict; `omp simd` states that elements do not depend on each other.
 */
#include "backend/cpu/kernels/kernel_vector.h"
#include "base/half.h"

/* y = f(x) and y = f(x, z); f is inlined at each call. */
INLINE void unary(float *y, const float *x, int64_t n, vec (*f)(vec))
{
    for (; n >= LANES; n -= LANES, x += LANES, y += LANES)
        store(y, f(load(x)));
    if (n > 0) {
        vec tail = {0};
        memcpy(&tail, x, (size_t)n * sizeof *x);
        tail = f(tail);
        memcpy(y, &tail, (size_t)n * sizeof *y);
    }
}

INLINE void binary(float *y, const float *x, const float *z, int64_t n, vec (*f)(vec, vec))
{
    for (; n >= LANES; n -= LANES, x += LANES, z += LANES, y += LANES)
        store(y, f(load(x), load(z)));
    if (n > 0) {
        vec tail = {0}, other = {0};
        memcpy(&tail, x, (size_t)n * sizeof *x);
        memcpy(&other, z, (size_t)n * sizeof *z);
        tail = f(tail, other);
        memcpy(y, &tail, (size_t)n * sizeof *y);
    }
}

void KERNEL(f32_of_bf16)(float *y, const uint16_t *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = float_of((uint32_t)x[i] << 16);
}

void KERNEL(f32_of_f16)(float *y, const uint16_t *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = vmt_f32_of_f16(x[i]);
}

void KERNEL(bf16_of_f32)(uint16_t *y, const float *x, int64_t n)
{
#ifdef __AVX512BF16__
    for (; n >= 2 * LANES; n -= 2 * LANES, x += 2 * LANES, y += 2 * LANES) {
        const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + LANES), _mm512_loadu_ps(x));
        memcpy(y, &both, sizeof both);
    }
#endif
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of(x[i]);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        const uint32_t quiet = bits >> 16 | 0x40; /* a NaN must not round to infinity */
        y[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
}

/* 0.5 x (1 + tanh u) = x / (1 + e⁻ᶻ), z = 2u = √(8/π) (x + 0.044715 x³). */
INLINE vec gelu_z(vec x)
{
    return 1.59576912f * (x + 0.044715f * x * x * x);
}

INLINE vec gelu_vec(vec x)
{
    return x * sigmoid_vec(gelu_z(x));
}

/* With s = 1 / (1 + e⁻ᶻ): d(x s)/dx = s + x s (1 - s) dz/dx; s (1 - s) = e⁻ᶻ s² keeps its digits
 * where s is near 1. */
INLINE vec gelu_bwd_vec(vec dy, vec x)
{
    const vec e = exp_minus(gelu_z(x)), s = 1.0f / (1.0f + e);
    const vec slope = 1.59576912f * (1.0f + 0.134145f * x * x);
    return dy * (s + x * slope * (e * s * s));
}

INLINE vec silu_vec(vec x)
{
    return x * sigmoid_vec(x);
}

INLINE vec gelu_gate_vec(vec x, vec gate)
{
    return x * gelu_vec(gate);
}

void KERNEL(gelu)(float *y, const float *x, int64_t n)
{
    unary(y, x, n, gelu_vec);
}

void KERNEL(gelu_bwd)(float *dx, const float *dy, const float *x, int64_t n)
{
    binary(dx, dy, x, n, gelu_bwd_vec);
}

void KERNEL(silu)(float *y, const float *x, int64_t n)
{
    unary(y, x, n, silu_vec);
}

void KERNEL(gelu_gate)(float *y, const float *x, const float *gate, int64_t n)
{
    binary(y, x, gate, n, gelu_gate_vec);
}

void KERNEL(lincomb)(float *y, const float *x, const float *z, float a, float b, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = a * x[i] + b * z[i];
}

void KERNEL(add)(float *y, const float *x, const float *z, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + z[i];
}

void KERNEL(mul)(float *y, const float *x, const float *z, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * z[i];
}

void KERNEL(mul_add)(float *y, const float *x, const float *g, const float *z, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + g[i] * z[i];
}

void KERNEL(scale)(float *y, const float *x, float a, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = a * x[i];
}
