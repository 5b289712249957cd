/* SPDX-License-Identifier: MIT
 *
 * Source: PyTorch aten CPUGeneratorImpl, DistributionTemplates.h (normal_fill) and its AVX2 form;
 * Cephes sinf, cosf, logf.  Compiled without contraction: each fused multiply-add is written out
 * as fmaf, every other operation rounds by itself.
 */
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { MT_PERIOD = 397, GROUP = 16, HALF = GROUP / 2 };

static const double TWO_PI = 6.283185307179586;

/* ---------------------------------------------------------------- MT19937 */

void vmt_rng_seed(vmt_rng *rng, uint64_t seed)
{
    memset(rng, 0, sizeof(*rng));
    rng->words[0] = (uint32_t)(seed & 0xffffffffu);
    for (uint32_t i = 1; i < VMT_MT_WORDS; i++) {
        const uint32_t last = rng->words[i - 1];
        rng->words[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
    rng->next = VMT_MT_WORDS;
}

static void refill(vmt_rng *rng)
{
    uint32_t *w = rng->words;

    for (int k = 0; k < VMT_MT_WORDS; k++) {
        const uint32_t y = (w[k] & 0x80000000u) | (w[(k + 1) % VMT_MT_WORDS] & 0x7fffffffu);
        w[k] = w[(k + MT_PERIOD) % VMT_MT_WORDS] ^ (y >> 1) ^ (y & 1u ? 0x9908b0dfu : 0u);
    }
    rng->next = 0;
}

uint32_t vmt_rng_bits(vmt_rng *rng)
{
    uint32_t y;

    if (rng->next == VMT_MT_WORDS)
        refill(rng);
    y = rng->words[rng->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static double uniform_double(vmt_rng *rng)
{
    const uint64_t high = vmt_rng_bits(rng); /* the first draw is the high half */
    const uint64_t bits = high << 32 | vmt_rng_bits(rng);

    return (double)(bits & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

static float uniform_float(vmt_rng *rng)
{
    return (float)(vmt_rng_bits(rng) & 0xffffffu) * 0x1p-24f;
}

/* ---------------------------------------------------------------- Cephes, single precision */

/* log of x in (0, 1]. */
static float log_cephes(float x)
{
    static const float poly[] = {-1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f,
                                 1.4249322787e-1f,  -1.6668057665e-1f, 2.0000714765e-1f,
                                 -2.4999993993e-1f, 3.3333331174e-1f};
    uint32_t bits;
    float e, m, y, z;

    memcpy(&bits, &x, sizeof(bits));
    e = (float)((int32_t)(bits >> 23) - 127) + 1.0f;
    bits = (bits & 0x007fffffu) | 0x3f000000u; /* mantissa in [0.5, 1) */
    memcpy(&m, &bits, sizeof(m));
    if (m < 0.707106781186547524f) {
        e -= 1.0f;
        x = (m - 1.0f) + m;
    } else {
        x = m - 1.0f;
    }
    z = x * x;
    y = 7.0376836292e-2f;
    for (size_t i = 0; i < sizeof(poly) / sizeof(poly[0]); i++)
        y = fmaf(y, x, poly[i]);
    y = y * x;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(-z, 0.5f, y);
    return fmaf(e, 0.693359375f, x + y);
}

/* sin and cos of x >= 0. */
static void sincos_cephes(float x, float *sine, float *cosine)
{
    const int32_t octant = ((int32_t)(x * 1.27323954473516f) + 1) & ~1;
    const float y = (float)octant;
    float z, s, c;

    x = fmaf(y, -0.78515625f, x); /* x - y π/4, in three parts */
    x = fmaf(y, -2.4187564849853515625e-4f, x);
    x = fmaf(y, -3.77489497744594108e-8f, x);
    z = x * x;
    c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f);
    c = c * z;
    c = fmaf(c, z, -(z * 0.5f)) + 1.0f;
    s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f);
    s = fmaf(s * z, x, x);
    *sine = octant & 2 ? c : s;
    *cosine = octant & 2 ? s : c;
    if (octant & 4)
        *sine = -*sine;
    if (!((octant - 2) & 4))
        *cosine = -*cosine;
}

/* ---------------------------------------------------------------- normal values */

/* 16 uniform values in [0, 1) become 16 normal ones, in place (Box-Muller). */
static void normal_group(float *u)
{
    for (int j = 0; j < HALF; j++) {
        const float radius = sqrtf(-2.0f * log_cephes(1.0f - u[j]));
        float sine, cosine;

        sincos_cephes((float)TWO_PI * u[j + HALF], &sine, &cosine);
        u[j] = radius * cosine;
        u[j + HALF] = radius * sine;
    }
}

/* One at a time, in double; every second value is the other half of a pair. */
static double normal_single(vmt_rng *rng)
{
    double angle, radius;

    if (rng->has_cached) {
        rng->has_cached = false;
        return rng->cached;
    }
    angle = TWO_PI * uniform_double(rng);
    radius = sqrt(-2.0 * log1p(-uniform_double(rng)));
    rng->cached = radius * sin(angle);
    rng->has_cached = true;
    return radius * cos(angle);
}

void vmt_rng_normal(vmt_rng *rng, float *values, int64_t count)
{
    if (count < GROUP) {
        for (int64_t i = 0; i < count; i++)
            values[i] = (float)normal_single(rng);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = uniform_float(rng);
    for (int64_t i = 0; i + GROUP <= count; i += GROUP)
        normal_group(values + i);
    if (count % GROUP != 0) { /* the last 16 values are drawn anew, as a group of their own */
        float *tail = values + count - GROUP;
        for (int j = 0; j < GROUP; j++)
            tail[j] = uniform_float(rng);
        normal_group(tail);
    }
}
