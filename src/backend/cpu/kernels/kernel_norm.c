/* SPDX-License-Identifier: MIT
 *
 * Norms.  Sums run in as many float lanes as a vector has, then over the lanes.
 */
#include "backend/cpu/kernels/kernel.h"

/* Mean and 1 / sqrt(var + eps); the variance is biased and centred (two passes). */
static inline void moments(const float *x, double eps, int64_t n, float *mean, float *rstd)
{
    float sum = 0, squares = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    const float mu = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mu) * (x[i] - mu);
    *mean = mu;
    *rstd = (float)(1 / sqrt((double)squares / (double)n + eps));
}

void KERNEL(norm)(float *y, const float *x, const float *factor, const float *offset,
                  float plus_one, double eps, int64_t n)
{
    float mean, rstd;

    moments(x, eps, n, &mean, &rstd);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * rstd * (plus_one + factor[i]) + offset[i];
}

/* With G = dy (plus_one + factor), r = rstd: dx += r (G - mean G - x̂ mean(G x̂)). */
void KERNEL(norm_bwd_acc)(float *dx, const float *dy, const float *x, const float *factor,
                          float plus_one, double eps, int64_t n)
{
    float mean, rstd, sum = 0, along = 0;

    moments(x, eps, n, &mean, &rstd);
#pragma omp simd reduction(+ : sum, along)
    for (int64_t i = 0; i < n; i++) {
        const float g = dy[i] * (plus_one + factor[i]);
        sum += g;
        along += g * ((x[i] - mean) * rstd);
    }
    sum /= (float)n;
    along /= (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = dy[i] * (plus_one + factor[i]);
        dx[i] += rstd * (g - sum - (x[i] - mean) * rstd * along);
    }
}

static inline float squares_of(const float *x, int64_t n)
{
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return squares;
}

/* 1 / sqrt(mean(x²) + eps). */
static inline float inverse_rms(const float *x, double eps, int64_t n)
{
    return (float)(1 / sqrt((double)squares_of(x, n) / (double)n + eps));
}

void KERNEL(rms_rope)(float *y, const float *x, const float *weight, const float *cosines,
                      const float *sines, double eps, int64_t heads, int64_t head_dim)
{
    const float r = inverse_rms(x, eps, heads * head_dim);

    if (!cosines) {
#pragma omp simd
        for (int64_t i = 0; i < heads * head_dim; i++)
            y[i] = x[i] * r * weight[i];
        return;
    }
    for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim, weight += head_dim)
#pragma omp simd
        for (int64_t j = 0; j < head_dim / 2; j++) {
            const float a = x[2 * j] * r * weight[2 * j];
            const float b = x[2 * j + 1] * r * weight[2 * j + 1];
            y[2 * j] = a * cosines[j] - b * sines[j];
            y[2 * j + 1] = a * sines[j] + b * cosines[j];
        }
}

/* RoPE is undone by -angle; then, with G = that ⊙ weight: dx = r G - x r³ mean(G x).
 * G is kept in dx between the passes. */
void KERNEL(rms_rope_bwd)(float *dx, const float *dy, const float *x, const float *weight,
                          const float *cosines, const float *sines, double eps, int64_t heads,
                          int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const float r = inverse_rms(x, eps, n);
    float along = 0;

    if (cosines)
        for (int64_t h = 0; h < n; h += head_dim)
#pragma omp simd
            for (int64_t j = 0; j < head_dim / 2; j++) {
                const float a = dy[h + 2 * j], b = dy[h + 2 * j + 1];
                dx[h + 2 * j] = (a * cosines[j] + b * sines[j]) * weight[h + 2 * j];
                dx[h + 2 * j + 1] = (b * cosines[j] - a * sines[j]) * weight[h + 2 * j + 1];
            }
    else
        KERNEL(mul)(dx, dy, weight, n);
#pragma omp simd reduction(+ : along)
    for (int64_t i = 0; i < n; i++)
        along += dx[i] * x[i];
    const float shrink = r * r * r * (along / (float)n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = r * dx[i] - x[i] * shrink;
}

void KERNEL(rms_channel)(float *y, const float *x, const float *gamma, bool silu, int64_t rows,
                         int64_t n)
{
    enum { AT_ONCE = 16 }; /* rows whose roots and quotients are formed side by side */
    const float root = sqrtf((float)n);

    for (int64_t t = 0; t < rows; t += AT_ONCE) {
        const int64_t count = rows - t < AT_ONCE ? rows - t : AT_ONCE;
        const float *const from = x + t * n;
        float *const to = y + t * n;
        float factor[AT_ONCE] = {0};

        for (int64_t r = 0; r < count; r++)
            factor[r] = squares_of(from + r * n, n);
#pragma omp simd
        for (int r = 0; r < AT_ONCE; r++) {
            const float length = sqrtf(factor[r]);
            factor[r] = root / (length > 1e-12f ? length : 1e-12f);
        }
        for (int64_t r = 0; r < count; r++)
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                to[r * n + i] = from[r * n + i] * factor[r] * gamma[i];
    }
    if (silu)
        KERNEL(silu)(y, y, rows * n);
}
