/* SPDX-License-Identifier: MIT
 *
 * Softmax of attention in blocks of keys, forward and backward.  Exponentials are powers of two:
 * the caller's scale has log2 e in it.
 */
#include "backend/cpu/kernels/kernel_vector.h"

enum { ROUND = 32 };
static const float FINITE = 1e30f;

/* Rounds n up; logits of the padding, which count scale times, have the exponential 0. */
static inline int64_t pad_row(float *s, float scale, int64_t n)
{
    for (; n % ROUND; n++)
        s[n] = scale < 0 ? FINITE : -FINITE;
    return n;
}

static inline float largest(const float *s, int64_t n)
{
#ifdef __AVX512F__
    __m512 most = _mm512_set1_ps(-INFINITY), more = most;

    for (int64_t j = 0; j < n; j += ROUND) {
        most = _mm512_max_ps(most, _mm512_loadu_ps(s + j));
        more = _mm512_max_ps(more, _mm512_loadu_ps(s + j + LANES));
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(most, more));
#else
    float lane[ROUND], most = -INFINITY;

    for (int l = 0; l < ROUND; l++)
        lane[l] = -INFINITY;
    for (int64_t j = 0; j < n; j += ROUND)
#pragma omp simd
        for (int l = 0; l < ROUND; l++)
            lane[l] = s[j + l] > lane[l] ? s[j + l] : lane[l];
    for (int l = 0; l < ROUND; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
#endif
}

/* p = 2^(scale s - max); returns the sum. */
static inline float powers(void *p, const float *s, float scale, float max, int64_t n, bool pairs)
{
#ifdef __AVX512F__
    const __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(max);
    __m512 sum = _mm512_setzero_ps(), more = sum;

    for (int64_t j = 0; j < n; j += ROUND) {
        const __m512 low = exp2_vec(_mm512_fmsub_ps(_mm512_loadu_ps(s + j), factor, shift), pairs);
        const __m512 high =
            exp2_vec(_mm512_fmsub_ps(_mm512_loadu_ps(s + j + LANES), factor, shift), pairs);
        sum = _mm512_add_ps(sum, low);
        more = _mm512_add_ps(more, high);
#ifdef __AVX512BF16__
        if (pairs) {
            const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
            memcpy((uint16_t *)p + j, &both, sizeof both);
            continue;
        }
#endif
        _mm512_storeu_ps((float *)p + j, low);
        _mm512_storeu_ps((float *)p + j + LANES, high);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum, more));
#else
    float *const out = p;
    float sum = 0;

    (void)pairs; /* no level without the instruction has them */
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        out[j] = exp2_of(scale * s[j] - max);
        sum += out[j];
    }
    return sum;
#endif
}

void KERNEL(softmax_next)(void *p, float *s, float scale, const float *bias, float *max, float *sum,
                          float *factor, int64_t n, bool pairs)
{
    const float before = *max;

    if (bias || scale < 0) {
        const float log2e = 1.44269504f;
        for (int64_t j = 0; j < n; j++) {
            const float z = scale * s[j] + (bias ? log2e * bias[j] : 0);
            s[j] = z < -FINITE ? -FINITE : z;
        }
        scale = 1;
    }
    n = pad_row(s, scale, n);
    const float most = scale * largest(s, n), now = most > before ? most : before;
    const float correct = exp2_of(before - now);
    const float added =
        pairs ? powers(p, s, scale, now, n, true) : powers(p, s, scale, now, n, false);
    *max = now;
    *factor = correct;
    *sum = *sum * correct + added;
}

#ifdef __AVX512BF16__
/* Two rows as bf16: side by side in `rows`, element by element in the result. */
static inline __m512i interleave(__m512bh rows)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i bits;
    memcpy(&bits, &rows, sizeof bits);
    return _mm512_permutexvar_epi16(order, bits);
}

static inline void grad_pairs(const float *s, const float *dp, int64_t row, float scale,
                              const float *lse, const float *delta, int64_t n, uint32_t *p,
                              uint32_t *ds, uint16_t *ds_rows)
{
    const __m512 factor = _mm512_set1_ps(scale);
    const __m512 lse0 = _mm512_set1_ps(lse[0]), lse1 = _mm512_set1_ps(lse[1]);
    const __m512 delta0 = _mm512_set1_ps(delta[0]), delta1 = _mm512_set1_ps(delta[1]);

    for (int64_t j = 0; j < n; j += LANES) {
        const __m512 p0 = exp2_vec(_mm512_fmsub_ps(_mm512_loadu_ps(s + j), factor, lse0), true);
        const __m512 p1 =
            exp2_vec(_mm512_fmsub_ps(_mm512_loadu_ps(s + row + j), factor, lse1), true);
        const __m512 ds0 = _mm512_mul_ps(p0, _mm512_sub_ps(_mm512_loadu_ps(dp + j), delta0));
        const __m512 ds1 = _mm512_mul_ps(p1, _mm512_sub_ps(_mm512_loadu_ps(dp + row + j), delta1));
        const __m512bh both_p = _mm512_cvtne2ps_pbh(p1, p0), both = _mm512_cvtne2ps_pbh(ds1, ds0);

        _mm512_storeu_si512(p + j, interleave(both_p));
        _mm512_storeu_si512(ds + j, interleave(both));
        memcpy(ds_rows + j, &both, sizeof both / 2);
        memcpy(ds_rows + row + j, (const char *)&both + sizeof both / 2, sizeof both / 2);
    }
}
#endif

/* One row in place. */
static inline void grad_row(float *s, float *dp, float scale, float lse, float delta, int64_t n)
{
#ifdef __AVX512F__
    const __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(lse);
    const __m512 mean = _mm512_set1_ps(delta);

    for (int64_t j = 0; j < n; j += LANES) {
        const __m512 p = exp2_vec(_mm512_fmsub_ps(_mm512_loadu_ps(s + j), factor, shift), false);
        _mm512_storeu_ps(s + j, p);
        _mm512_storeu_ps(dp + j, _mm512_mul_ps(p, _mm512_sub_ps(_mm512_loadu_ps(dp + j), mean)));
    }
#else
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const float p = exp2_of(scale * s[j] - lse);
        s[j] = p;
        dp[j] = p * (dp[j] - delta);
    }
#endif
}

void KERNEL(softmax_grad)(float *s, float *dp, int64_t row, float scale, const float *lse,
                          const float *delta, int64_t n, uint32_t *p, uint32_t *ds,
                          uint16_t *ds_rows, bool pairs)
{
    for (int i = 0; i < 2; i++) {
        pad_row(s + i * row, scale, n);
        for (int64_t j = n; j % ROUND; j++)
            dp[i * row + j] = 0;
    }
    n = (n + ROUND - 1) / ROUND * ROUND;
#ifdef __AVX512BF16__
    if (pairs) {
        grad_pairs(s, dp, row, scale, lse, delta, n, p, ds, ds_rows);
        return;
    }
#endif
    (void)pairs, (void)p, (void)ds, (void)ds_rows;
    for (int i = 0; i < 2; i++)
        grad_row(s + i * row, dp + i * row, scale, lse[i], delta[i], n);
}
