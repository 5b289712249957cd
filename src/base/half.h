/* SPDX-License-Identifier: MIT
 *
 * bfloat16, IEEE binary16 and e4m3 as bit patterns.  Widening is exact; narrowing rounds to
 * nearest, ties to even, overflows to infinity, keeps NaN a (quiet) NaN and subnormals.
 */
#ifndef VMT_BASE_HALF_H
#define VMT_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t vmt_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float vmt_f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Without a branch: loops become vectors. */
static inline uint32_t vmt_choose(uint32_t condition, uint32_t yes, uint32_t no)
{
    const uint32_t ones = 0u - condition; /* condition: 0 or 1 */
    return (yes & ones) | (no & ~ones);
}

static inline float vmt_f32_of_bf16(uint16_t h)
{
    return vmt_f32_of_bits((uint32_t)h << 16);
}

static inline uint16_t vmt_bf16_of_f32(float x)
{
    const uint32_t bits = vmt_f32_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float vmt_f32_of_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
    const uint32_t infinity_or_nan = 0x7f800000u | (rest & 0x3ffu) << 13;
    const uint32_t normal = (rest << 13) + ((127u - 15u) << 23);
    const uint32_t subnormal = vmt_f32_bits((float)(int32_t)rest * 0x1p-24f); /* exact */
    return vmt_f32_of_bits(sign | vmt_choose(rest >= 0x7c00u, infinity_or_nan,
                                             vmt_choose(rest >= 0x0400u, normal, subnormal)));
}

static inline uint16_t vmt_f16_of_f32(float x)
{
    const uint32_t bits = vmt_f32_bits(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    if (rest >= 0x477ff000u) /* 65520, the midpoint past the largest finite: rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (rest >= 0x38800000u) { /* 2⁻¹⁴ and above: normal */
        const uint32_t rebased = rest - ((127u - 15u) << 23);
        return (uint16_t)(sign | (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13);
    }
    /* 0.5 has the ulp 2⁻²⁴, the step of the subnormals: the sum rounds to it in hardware. */
    return (uint16_t)(sign | (vmt_f32_bits(vmt_f32_of_bits(rest) + 0.5f) - 0x3f000000u));
}

/* e4m3 as OCP defines it: no infinity, largest 448, 0x7f NaN. */
static inline float vmt_f32_of_e4m3(uint8_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x80u) << 24, rest = h & 0x7fu;
    const uint32_t normal = (rest << 20) + ((127u - 7u) << 23);
    const uint32_t subnormal = vmt_f32_bits((float)(int32_t)rest * 0x1p-9f);
    return vmt_f32_of_bits(sign | vmt_choose(rest == 0x7fu, 0x7fc00000u,
                                             vmt_choose(rest >= 0x08u, normal, subnormal)));
}

/* Nearest, ties to even; what is larger than 448, infinity too, becomes 448. */
static inline uint8_t vmt_e4m3_of_f32(float x)
{
    const uint32_t bits = vmt_f32_bits(x), sign = bits >> 24 & 0x80u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (rest >= 0x43e00000u)
        return (uint8_t)(sign | 0x7eu);
    if (rest >= 0x3c800000u) { /* 2⁻⁶ and above: normal */
        const uint32_t rebased = rest - ((127u - 7u) << 23);
        return (uint8_t)(sign | (rebased + 0x7ffffu + (rebased >> 20 & 1u)) >> 20);
    }
    /* 2¹⁴ has the ulp 2⁻⁹, the step of the subnormals: the sum rounds to it in hardware. */
    return (uint8_t)(sign | (vmt_f32_bits(vmt_f32_of_bits(rest) + 16384.0f) - 0x46800000u));
}

#endif
