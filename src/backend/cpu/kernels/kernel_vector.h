/* SPDX-License-Identifier: MIT
 *
 * One vector register of floats, for kernels that say themselves what is a vector.
 */
#ifndef VMT_CPU_KERNEL_VECTOR_H
#define VMT_CPU_KERNEL_VECTOR_H

#include "backend/cpu/kernels/kernel.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(LANES * sizeof(float))));      /* of a comparison */
typedef uint32_t bits_vec __attribute__((vector_size(LANES * sizeof(float)))); /* sums wrap */

INLINE vec load(const void *from)
{
    vec x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store(void *to, vec x)
{
    memcpy(to, &x, sizeof x);
}

INLINE vec pick(mask m, vec yes, vec no)
{
    return (vec)(((mask)yes & m) | ((mask)no & ~m));
}

/* The larger; b when one is NaN. */
INLINE vec larger(vec a, vec b)
{
#ifdef __AVX512F__
    return _mm512_max_ps(a, b);
#else
    return pick(a > b, a, b);
#endif
}

/* 2^y within 2 ulp, y <= 126; 0 below -125; NaN stays.  y = n + r, |r| <= 1/2; 2^r by interpolation
 * at Chebyshev nodes (2.5e-9). */
static inline float exp2_of(float y)
{
    const float magic = 0x1.8p23f;
    const float c = y > 126.0f ? 126.0f : y;
    const float t = c + magic;
    const float r = c - (t - magic);
    float p = 1.5461444696e-4f;

    p = p * r + 1.3400428177e-3f;
    p = p * r + 9.6180566785e-3f;
    p = p * r + 5.5503272267e-2f;
    p = p * r + 2.4022650922e-1f;
    p = p * r + 6.9314720670e-1f;
    p = p * r + 1.0f;
    const float e = float_of(bits_of(p) + (bits_of(t) << 23));
    return c < -125.0f ? 0.0f : (c != c ? c : e);
}

#ifdef __AVX512F__
/* The same on a vector of finite y, with the scaling by an instruction; where the result is rounded
 * to bf16 a polynomial of degree 4 is enough (3.5e-6). */
static inline vec exp2_vec(vec y, bool coarse)
{
    const __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 r = _mm512_sub_ps(y, n);
    __m512 p;

    if (coarse) {
        p = _mm512_fmadd_ps(_mm512_set1_ps(9.6663685154e-3f), r, _mm512_set1_ps(5.5921975842e-2f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022349038e-1f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9312104520e-1f));
    } else {
        p = _mm512_fmadd_ps(_mm512_set1_ps(1.5461444696e-4f), r, _mm512_set1_ps(1.3400428177e-3f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6180566785e-3f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5503272267e-2f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022650922e-1f));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314720670e-1f));
    }
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}
#else
static inline vec exp2_vec(vec y, bool coarse)
{
    const vec c = pick(y > 126.0f, (vec){0} + 126.0f, y);
    const vec t = c + 0x1.8p23f, r = c - (t - 0x1.8p23f);
    vec p = r * 1.5461444696e-4f + 1.3400428177e-3f;

    (void)coarse;
    p = p * r + 9.6180566785e-3f;
    p = p * r + 5.5503272267e-2f;
    p = p * r + 2.4022650922e-1f;
    p = p * r + 6.9314720670e-1f;
    p = p * r + 1.0f;
    return pick(c < -125.0f, (vec){0}, (vec)((bits_vec)p + ((bits_vec)t << 23)));
}
#endif

/* e⁻ˣ, and 0 or 2¹²⁶ where that is out of reach; NaN stays. */
INLINE vec exp_minus(vec x)
{
    const vec most = (vec){0} + 126.0f, y = x * -1.44269504f;
    return exp2_vec(larger(-most, -larger(-most, -y)), false);
}

/* 1 / (1 + e⁻ˣ). */
INLINE vec sigmoid_vec(vec x)
{
    return 1.0f / (1.0f + exp_minus(x));
}

#endif
