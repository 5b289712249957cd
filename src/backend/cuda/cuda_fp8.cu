/* SPDX-License-Identifier: MIT
 *
 * Rows rounded to e4m3 with a scale each, and the scales put back behind a product of them.
 */
#include "backend/cuda/cuda_common.cuh"

#include <cuda_fp8.h>

static const float LARGEST = 448.0f;

/* A block of threads for each row, which is read twice: the second time from the cache. */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    round_rows(unsigned char *y, float *scales, const X *x, int64_t in, float largest)
{
    __shared__ float room[33];
    const X *row = x + (int64_t)blockIdx.x * in;
    float most = 0;

    for (int64_t i = 4 * (int64_t)threadIdx.x; i < in; i += 4 * THREADS) {
        const float4 v = widen4(row + i);
        most = fmaxf(fmaxf(most, fmaxf(fabsf(v.x), fabsf(v.y))), fmaxf(fabsf(v.z), fabsf(v.w)));
    }
    most = block_max(most, room);
    const float scale = most > 0 ? __fdiv_rn(most, largest) : 1.0f;
    if (threadIdx.x == 0)
        scales[blockIdx.x] = scale;
    for (int64_t i = 4 * (int64_t)threadIdx.x; i < in; i += 4 * THREADS) {
        const float4 v = widen4(row + i);
        uchar4 out;
        out.x = __nv_cvt_float_to_fp8(__fdiv_rn(v.x, scale), __NV_SATFINITE, __NV_E4M3);
        out.y = __nv_cvt_float_to_fp8(__fdiv_rn(v.y, scale), __NV_SATFINITE, __NV_E4M3);
        out.z = __nv_cvt_float_to_fp8(__fdiv_rn(v.z, scale), __NV_SATFINITE, __NV_E4M3);
        out.w = __nv_cvt_float_to_fp8(__fdiv_rn(v.w, scale), __NV_SATFINITE, __NV_E4M3);
        *(uchar4 *)(y + (int64_t)blockIdx.x * in + i) = out;
    }
}

extern "C" cudaError_t cuda_fp8_rows(cudaStream_t stream, unsigned char *y, float *s, cuda_view x,
                                     int64_t rows, int64_t in)
{
    if (!by_fours(x, in) || (uintptr_t)y % 4 || rows > INT32_MAX)
        return cudaErrorInvalidValue;
    return with_act(x.dtype, [&](auto *t) {
        round_rows<<<(unsigned)rows, THREADS, 0, stream>>>(y, s, (decltype(t))x.data, in, LARGEST);
        return cudaGetLastError();
    });
}

template <typename Y>
__global__ void scale_rows(Y *y, const float *row_scale, const float *col_scale, const float *bias,
                           int64_t out, int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t row = i / out, col = i - row * out;
        const float v = widen(y[i]) * row_scale[row] * col_scale[col];
        put(y + i, bias ? v + bias[col] : v);
    }
}

extern "C" cudaError_t cuda_fp8_scale(cudaStream_t stream, cuda_view y, const float *row_scale,
                                      const float *col_scale, const float *bias, int64_t rows,
                                      int64_t out)
{
    const int64_t count = rows * out;

    return with_act(y.dtype, [&](auto *t) {
        scale_rows<<<grid_for(count), THREADS, 0, stream>>>((decltype(t))y.data, row_scale,
                                                            col_scale, bias, out, count);
        return cudaGetLastError();
    });
}
