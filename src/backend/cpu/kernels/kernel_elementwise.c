/* SPDX-License-Identifier: MIT
 *
 * Elementwise kernels and conversions.  Outputs may be inputs (element by element), so no pointer
 * is restrict; `omp simd` states that elements do not depend on each other.
 */
#include "backend/cpu/kernels/kernel.h"

void KERNEL(f32_of_bf16)(float *y, const uint16_t *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = float_of((uint32_t)x[i] << 16);
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

void KERNEL(gelu)(float *y, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * sigmoid_of(gelu_z(x[i]));
}

/* With s = 1 / (1 + e⁻ᶻ): d(x s)/dx = s + x s (1 - s) dz/dx; s (1 - s) = e⁻ᶻ s² keeps its digits
 * where s is near 1. */
void KERNEL(gelu_bwd)(float *dx, const float *dy, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float e = exp_of(-gelu_z(x[i])), s = 1.0f / (1.0f + e);
        const float slope = 1.59576912f * (1.0f + 0.134145f * x[i] * x[i]);
        dx[i] = dy[i] * (s + x[i] * slope * (e * s * s));
    }
}

void KERNEL(silu)(float *y, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * sigmoid_of(x[i]);
}

void KERNEL(gelu_gate)(float *y, const float *x, const float *gate, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * (gate[i] * sigmoid_of(gelu_z(gate[i])));
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
