/* SPDX-License-Identifier: MIT */
#include "base/quant.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- blocks to floats */

static float half_at(const uint8_t *p)
{
    return vmt_f32_of_f16((uint16_t)(p[0] | p[1] << 8));
}

static void unpack_q8_0(float *y, const uint8_t *b)
{
    const float d = half_at(b);

    for (int i = 0; i < 32; i++)
        y[i] = d * (float)(int8_t)b[2 + i];
}

static void unpack_q4_0(float *y, const uint8_t *b)
{
    const float d = half_at(b);

    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b[2 + i] & 15) - 8);
        y[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

/* Scale and minimum of 32 elements, 6 bits each: of the first four groups in bytes 0-3 and 4-7, of
 * the last four the low halves in bytes 8-11, the high pairs above those of the first four. */
static void scale_min(const uint8_t *s, int group, int *scale, int *min)
{
    if (group < 4) {
        *scale = s[group] & 63;
        *min = s[4 + group] & 63;
    } else {
        *scale = (s[4 + group] & 15) | (s[group - 4] >> 6) << 4;
        *min = s[4 + group] >> 4 | (s[group] >> 6) << 4;
    }
}

/* d, dmin; 12 bytes of scales; 128 bytes of nibbles: of groups 2p and 2p + 1 in the low and high
 * halves of bytes 32p … */
static void unpack_q4_k(float *y, const uint8_t *b)
{
    const float d = half_at(b), least = half_at(b + 2);

    for (int group = 0; group < 8; group++) {
        const uint8_t *q = b + 16 + group / 2 * 32;
        int scale, min;
        scale_min(b + 4, group, &scale, &min);
        const float step = d * (float)scale, offset = least * (float)min;
        for (int i = 0; i < 32; i++)
            y[32 * group + i] = step * (float)(q[i] >> (group % 2 * 4) & 15) - offset;
    }
}

/* As Q4_K, with a fifth bit of element i of each group in bit `group` of byte 16 + i. */
static void unpack_q5_k(float *y, const uint8_t *b)
{
    const float d = half_at(b), least = half_at(b + 2);

    for (int group = 0; group < 8; group++) {
        const uint8_t *q = b + 48 + group / 2 * 32, *high = b + 16;
        int scale, min;
        scale_min(b + 4, group, &scale, &min);
        const float step = d * (float)scale, offset = least * (float)min;
        for (int i = 0; i < 32; i++) {
            const int low = q[i] >> (group % 2 * 4) & 15;
            y[32 * group + i] = step * (float)(low | (high[i] >> group & 1) << 4) - offset;
        }
    }
}

/* Two halves of 128: 64 bytes of low nibbles, 32 bytes of high pairs; 16 signed scales, d. */
static void unpack_q6_k(float *y, const uint8_t *b)
{
    const float d = half_at(b + 208);

    for (int run = 0; run < 16; run++) { /* of 16 elements, which share a scale */
        const int half = run / 8, part = run % 8 / 2, at = run % 2 * 16;
        const uint8_t *low = b + 64 * half + part % 2 * 32 + at, *high = b + 128 + 32 * half + at;
        const float step = d * (float)(int8_t)b[192 + run];
        for (int i = 0; i < 16; i++) {
            const int q = (low[i] >> (part / 2 * 4) & 15) | (high[i] >> (2 * part) & 3) << 4;
            y[16 * run + i] = step * (float)(q - 32);
        }
    }
}

static void unpack_f8(float *y, const uint8_t *b)
{
    y[0] = vmt_f32_of_e4m3(b[0]);
}

/* ---------------------------------------------------------------- types */

typedef struct quant_type {
    enum vmt_dtype dtype;
    int64_t elements; /* of a block */
    size_t bytes;
    void (*unpack)(float *y, const uint8_t *block);
} quant_type;

static const quant_type TYPES[] = {
    {VMT_F8_E4M3, 1, 1, unpack_f8},    {VMT_Q8_0, 32, 34, unpack_q8_0},
    {VMT_Q4_0, 32, 18, unpack_q4_0},   {VMT_Q4_K, 256, 144, unpack_q4_k},
    {VMT_Q5_K, 256, 176, unpack_q5_k}, {VMT_Q6_K, 256, 210, unpack_q6_k}};

static const quant_type *find(enum vmt_dtype dtype)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (TYPES[i].dtype == dtype)
            return &TYPES[i];
    return NULL;
}

bool vmt_is_quantised(enum vmt_dtype dtype)
{
    return find(dtype) != NULL;
}

int64_t vmt_quant_elements(enum vmt_dtype dtype)
{
    const quant_type *type = find(dtype);
    return type ? type->elements : 1;
}

size_t vmt_quant_bytes(enum vmt_dtype dtype)
{
    const quant_type *type = find(dtype);
    return type ? type->bytes : 0;
}

void vmt_unpack(float *y, enum vmt_dtype dtype, const void *blocks, int64_t first, int64_t count)
{
    const quant_type *type = find(dtype);
    const int64_t elements = type->elements;
    const uint8_t *block = (const uint8_t *)blocks + (size_t)(first / elements) * type->bytes;
    float buffer[VMT_QUANT_BLOCK];

    if (dtype == VMT_F8_E4M3) { /* a loop of its own, not a call for each element */
        for (int64_t i = 0; i < count; i++)
            y[i] = vmt_f32_of_e4m3(block[i]);
        return;
    }
    for (int64_t skip = first % elements; count > 0; block += type->bytes, skip = 0) {
        const int64_t n = elements - skip < count ? elements - skip : count;
        if (n == elements) {
            type->unpack(y, block);
        } else {
            type->unpack(buffer, block);
            memcpy(y, buffer + skip, (size_t)n * sizeof *y);
        }
        y += n;
        count -= n;
    }
}

/* ---------------------------------------------------------------- floats to blocks */

static void put_half(uint8_t *p, float x)
{
    const uint16_t h = vmt_f16_of_f32(x);
    p[0] = (uint8_t)(h & 255);
    p[1] = (uint8_t)(h >> 8);
}

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* As GGML: d = max |x| / 127, halves away from zero. */
static void pack_q8_0(uint8_t *b, const float *x)
{
    float most = 0;

    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float d = most / 127, inverse = d > 0 ? 1 / d : 0;
    put_half(b, d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int8_t)clamp((int)roundf(x[i] * inverse), -127, 127);
}

/* x ≈ step q - offset, q of 0 … 15, offset >= 0; squares of the rest. */
static double fit_error(const float *x, float step, float offset)
{
    const float inverse = step > 0 ? 1 / step : 0;
    double sum = 0;

    for (int i = 0; i < 32; i++) {
        const int q = clamp((int)roundf((x[i] + offset) * inverse), 0, 15);
        const double rest = (double)(step * (float)q - offset - x[i]);
        sum += rest * rest;
    }
    return sum;
}

/* One least-squares step from the numbers that a step and an offset choose. */
static void refine(const float *x, float *step, float *offset)
{
    const float inverse = *step > 0 ? 1 / *step : 0;
    double q1 = 0, q2 = 0, x1 = 0, xq = 0;

    for (int i = 0; i < 32; i++) {
        const double q = clamp((int)roundf((x[i] + *offset) * inverse), 0, 15);
        q1 += q;
        q2 += q * q;
        x1 += (double)x[i];
        xq += (double)x[i] * q;
    }
    const double determinant = 32 * q2 - q1 * q1;
    if (determinant <= 0)
        return;
    double a = (32 * xq - q1 * x1) / determinant, c = (q2 * x1 - q1 * xq) / determinant;
    if (c > 0) { /* offsets are not negative */
        c = 0;
        a = q2 > 0 ? xq / q2 : 0;
    }
    if (a > 0) {
        *step = (float)a;
        *offset = (float)-c;
    }
}

/* Step and offset of 32 elements: of some ranges, each refined, the one of the least error. */
static void fit(const float *x, float *step, float *offset)
{
    float low = 0, high = x[0];
    double best = -1;

    for (int i = 0; i < 32; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    *step = *offset = 0;
    if (high <= low) {
        *offset = -low;
        return;
    }
    for (int shrink = 0; shrink < 8; shrink++) {
        float a = (high - low) / (15 + 0.5f * (float)shrink - 1), c = -low;
        for (int round = 0; round < 3; round++) {
            const double error = fit_error(x, a, c);
            if (best < 0 || error < best) {
                best = error;
                *step = a;
                *offset = c;
            }
            refine(x, &a, &c);
        }
    }
}

static void put_scale_min(uint8_t *s, int group, int scale, int min)
{
    if (group < 4) {
        s[group] |= (uint8_t)scale;
        s[4 + group] |= (uint8_t)min;
    } else {
        s[4 + group] |= (uint8_t)((scale & 15) | (min & 15) << 4);
        s[group - 4] |= (uint8_t)(scale >> 4 << 6);
        s[group] |= (uint8_t)(min >> 4 << 6);
    }
}

static void pack_q4_k(uint8_t *b, const float *x)
{
    float step[8], offset[8], most_step = 0, most_offset = 0;

    for (int group = 0; group < 8; group++) {
        fit(x + 32 * group, &step[group], &offset[group]);
        most_step = fmaxf(most_step, step[group]);
        most_offset = fmaxf(most_offset, offset[group]);
    }
    memset(b, 0, 144);
    put_half(b, most_step / 63);
    put_half(b + 2, most_offset / 63);
    const float d = half_at(b), least = half_at(b + 2);
    for (int group = 0; group < 8; group++) {
        const int scale = d > 0 ? clamp((int)roundf(step[group] / d), 0, 63) : 0;
        const int min = least > 0 ? clamp((int)roundf(offset[group] / least), 0, 63) : 0;
        const float a = d * (float)scale, c = least * (float)min;
        put_scale_min(b + 4, group, scale, min);
        for (int i = 0; i < 32; i++) {
            const float place = a > 0 ? (x[32 * group + i] + c) / a : 0;
            const int q = clamp((int)roundf(fminf(fmaxf(place, 0), 15)), 0, 15);
            b[16 + group / 2 * 32 + i] |= (uint8_t)(q << (group % 2 * 4));
        }
    }
}

void vmt_pack(void *blocks, enum vmt_dtype dtype, const float *x, int64_t count)
{
    const int64_t elements = vmt_quant_elements(dtype);
    const size_t bytes = vmt_quant_bytes(dtype);
    uint8_t *block = blocks;

    for (int64_t i = 0; i < count; i += elements, block += bytes) {
        if (dtype == VMT_Q8_0)
            pack_q8_0(block, x + i);
        else if (dtype == VMT_Q4_K)
            pack_q4_k(block, x + i);
        else
            *block = vmt_e4m3_of_f32(x[i]);
    }
}
