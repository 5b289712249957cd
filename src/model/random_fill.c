/* SPDX-License-Identifier: MIT */
#include "model/random_fill.h"

#include "base/half.h"

/* FNV-1a: tensors of one seed must not share their stream. */
static uint64_t hash_name(const char *name, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* Element i of the stream: splitmix64 of a counter, so that any piece can be drawn alone. */
static uint64_t bits_at(uint64_t stream, uint64_t i)
{
    uint64_t z = stream + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Nearly normal, mean 0, variance 1: four uniform numbers of 16 bits summed (variance 4/12 of their
 * range squared).  At most 3.46 in magnitude. */
static float normal(uint64_t bits)
{
    const int32_t sum = (int32_t)(bits & 0xffff) + (int32_t)(bits >> 16 & 0xffff) +
                        (int32_t)(bits >> 32 & 0xffff) + (int32_t)(bits >> 48);
    return (float)(sum - 2 * 0xffff) * (1.7320508f / 65536.0f);
}

void vmt_random_fill(void *out, enum vmt_dtype dtype, const vmt_tensor_spec *spec, uint64_t seed,
                     int64_t first, int64_t count)
{
    const uint64_t stream = bits_at(hash_name(spec->name, seed), 0);
    float *f32 = out;
    uint16_t *f16 = out;

    for (int64_t i = 0; i < count; i++) {
        float x = spec->mean + spec->scale * normal(bits_at(stream, (uint64_t)(first + i)));
        if (spec->gates && (first + i) / spec->shape[2] % 3 == 2) /* rows 2 and 5 */
            x += 0.5f;
        if (dtype == VMT_F32)
            f32[i] = x;
        else
            f16[i] = dtype == VMT_BF16 ? vmt_bf16_of_f32(x) : vmt_f16_of_f32(x);
    }
}
