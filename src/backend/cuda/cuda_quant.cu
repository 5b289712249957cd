/* SPDX-License-Identifier: MIT
 *
 * Matrices in few bits to floats: one thread an element, each block read byte by byte, as it needs
 * no alignment.  Products and sums are rounded one by one, in the order of base/quant.c: its bits.
 */
#include "backend/cuda/cuda_common.cuh"

__device__ static float half_at(const uint8_t *p)
{
    return __half2float(__ushort_as_half((unsigned short)(p[0] | p[1] << 8)));
}

/* step · q - least, not fused. */
__device__ static float affine(float step, int q, float least)
{
    return __fsub_rn(__fmul_rn(step, (float)q), least);
}

struct f8 {
    static constexpr int elements = 1, bytes = 1;
    __device__ static float value(const uint8_t *b, int)
    {
        const uint32_t sign = (uint32_t)(b[0] & 0x80u) << 24, rest = b[0] & 0x7fu;
        if (rest == 0x7fu)
            return __uint_as_float(sign | 0x7fc00000u);
        if (rest >= 8)
            return __uint_as_float(sign | ((rest << 20) + ((127u - 7u) << 23)));
        return __uint_as_float(sign | __float_as_uint((float)rest * 0x1p-9f));
    }
};

struct q8_0 {
    static constexpr int elements = 32, bytes = 34;
    __device__ static float value(const uint8_t *b, int i)
    {
        return __fmul_rn(half_at(b), (float)(int8_t)b[2 + i]);
    }
};

struct q4_0 {
    static constexpr int elements = 32, bytes = 18;
    __device__ static float value(const uint8_t *b, int i)
    {
        const int q = b[2 + i % 16] >> (i / 16 * 4) & 15;
        return __fmul_rn(half_at(b), (float)(q - 8));
    }
};

/* Scale and minimum of group i / 32 of Q4_K and Q5_K applied to q. */
__device__ static float of_group(const uint8_t *b, int group, int q)
{
    const uint8_t *s = b + 4;
    int scale, min;
    if (group < 4) {
        scale = s[group] & 63;
        min = s[4 + group] & 63;
    } else {
        scale = (s[4 + group] & 15) | (s[group - 4] >> 6) << 4;
        min = s[4 + group] >> 4 | (s[group] >> 6) << 4;
    }
    return affine(__fmul_rn(half_at(b), (float)scale), q, __fmul_rn(half_at(b + 2), (float)min));
}

struct q4_k {
    static constexpr int elements = 256, bytes = 144;
    __device__ static float value(const uint8_t *b, int i)
    {
        const int group = i / 32;
        return of_group(b, group, b[16 + group / 2 * 32 + i % 32] >> (group % 2 * 4) & 15);
    }
};

struct q5_k {
    static constexpr int elements = 256, bytes = 176;
    __device__ static float value(const uint8_t *b, int i)
    {
        const int group = i / 32, at = i % 32;
        const int low = b[48 + group / 2 * 32 + at] >> (group % 2 * 4) & 15;
        return of_group(b, group, low | (b[16 + at] >> group & 1) << 4);
    }
};

struct q6_k {
    static constexpr int elements = 256, bytes = 210;
    __device__ static float value(const uint8_t *b, int i)
    {
        const int half = i / 128, part = i % 128 / 32, at = i % 32;
        const int low = b[64 * half + part % 2 * 32 + at] >> (part / 2 * 4) & 15;
        const int high = b[128 + 32 * half + at] >> (2 * part) & 3;
        const float step = __fmul_rn(half_at(b + 208), (float)(int8_t)b[192 + i / 16]);
        return __fmul_rn(step, (float)((low | high << 4) - 32));
    }
};

template <typename Q, typename Y>
__global__ void unpack(Y *y, const uint8_t *blocks, const float *factors, int64_t part,
                       int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const float x = Q::value(blocks + i / Q::elements * Q::bytes, (int)(i % Q::elements));
        put(y + i, factors ? __fmul_rn(x, factors[i / part]) : x);
    }
}

template <typename Q>
static cudaError_t run(cudaStream_t s, cuda_view y, const cuda_quant &w, int64_t count)
{
    return with_act(y.dtype, [&](auto *to) {
        unpack<Q><<<grid_for(count), THREADS, 0, s>>>(
            (decltype(to))y.data, (const uint8_t *)w.blocks, w.factors, w.part, count);
        return cudaGetLastError();
    });
}

extern "C" cudaError_t cuda_unpack(cudaStream_t s, cuda_view y, cuda_quant w, int64_t count)
{
    switch (w.dtype) {
    case VMT_F8_E4M3:
        return run<f8>(s, y, w, count);
    case VMT_Q8_0:
        return run<q8_0>(s, y, w, count);
    case VMT_Q4_0:
        return run<q4_0>(s, y, w, count);
    case VMT_Q4_K:
        return run<q4_k>(s, y, w, count);
    case VMT_Q5_K:
        return run<q5_k>(s, y, w, count);
    case VMT_Q6_K:
        return run<q6_k>(s, y, w, count);
    default:
        return cudaErrorInvalidValue;
    }
}
