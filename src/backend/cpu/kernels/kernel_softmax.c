/* SPDX-License-Identifier: MIT
 *
 * Rows of attention.
 */
#include "backend/cpu/kernels/kernel.h"

/* Largest scale · x_j, in lanes: not each compiler makes vectors of a running maximum. */
static inline float largest(const float *x, float scale, int64_t n)
{
    enum { WIDTH = 16 };
    float lane[WIDTH], most = -INFINITY;
    int64_t j = 0;

    for (int l = 0; l < WIDTH; l++)
        lane[l] = -INFINITY;
    for (; j + WIDTH <= n; j += WIDTH)
#pragma omp simd
        for (int l = 0; l < WIDTH; l++) {
            const float z = scale * x[j + l];
            lane[l] = z > lane[l] ? z : lane[l];
        }
    for (int l = 0; l < WIDTH; l++)
        most = lane[l] > most ? lane[l] : most;
    for (; j < n; j++)
        most = scale * x[j] > most ? scale * x[j] : most;
    return most;
}

void KERNEL(softmax)(float *p, float scale, const float *bias, float *max, float *sum, int64_t n)
{
    float total = 0;

    if (bias) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            p[j] = scale * p[j] + bias[j];
        scale = 1;
    }
    const float most = largest(p, scale, n);
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < n; j++) {
        p[j] = exp_of(scale * p[j] - most);
        total += p[j];
    }
    *max = most;
    *sum = total;
}

void KERNEL(softmax_bwd)(float *s, float *dp, float scale, float lse, float delta, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const float p = exp_of(scale * s[j] - lse);
        s[j] = p;
        dp[j] = scale * p * (dp[j] - delta);
    }
}

float KERNEL(dot)(const float *x, const float *y, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}
