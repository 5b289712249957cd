/* SPDX-License-Identifier: MIT
 *
 * The bias of a convolution whose kernel adds none.
 */
#include "backend/cuda/cuda_common.cuh"

/* Eight neighbours at an address that is a multiple of their size. */
__device__ inline void add_eight(__nv_bfloat16 *y, const float *bias)
{
    uint4 raw = *(const uint4 *)y;
    __nv_bfloat162 *const pairs = (__nv_bfloat162 *)&raw;

    for (int i = 0; i < 4; i++) {
        const float2 x = __bfloat1622float2(pairs[i]), b = *(const float2 *)(bias + 2 * i);
        pairs[i] = __floats2bfloat162_rn(x.x + b.x, x.y + b.y);
    }
    *(uint4 *)y = raw;
}

/* count: of eights, fewer than 2^32. */
__global__ void add_bias_eights(__nv_bfloat16 *y, const float *bias, unsigned eights, int64_t count)
{
    GRID_STRIDE(i, count)
    add_eight(y + 8 * i, bias + (unsigned)i % eights * 8);
}

template <typename T>
__global__ void add_bias(T *y, const T *x, const float *bias, int64_t y_channels,
                         int64_t x_channels, int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t row = i / y_channels, c = i - row * y_channels;
        put(y + i, widen(x[row * x_channels + c]) + bias[c]);
    }
}

extern "C" cudaError_t cuda_add_bias(cudaStream_t s, cuda_view y, cuda_view x, const float *bias,
                                     int64_t rows, int64_t y_channels, int64_t x_channels)
{
    const int64_t count = rows * y_channels;

    if (y.dtype != x.dtype)
        return cudaErrorInvalidValue;
    if (y.dtype == VMT_BF16 && y.data == x.data && y_channels == x_channels &&
        y_channels % 8 == 0 && ((uintptr_t)y.data | (uintptr_t)bias) % 16 == 0 &&
        count / 8 <= UINT32_MAX) {
        add_bias_eights<<<grid_for(count / 8), THREADS, 0, s>>>(
            (__nv_bfloat16 *)y.data, bias, (unsigned)(y_channels / 8), count / 8);
        return cudaGetLastError();
    }
    return with_act(y.dtype, [&](auto *t) {
        add_bias<<<grid_for(count), THREADS, 0, s>>>((decltype(t))y.data, (decltype(t))x.data, bias,
                                                     y_channels, x_channels, count);
        return cudaGetLastError();
    });
}
