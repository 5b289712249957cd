/* SPDX-License-Identifier: MIT
 *
 * What the kernel files share: loads and stores that widen and round, reductions in a fixed order,
 * dispatch on dtype.
 */
#ifndef VMT_CUDA_COMMON_CUH
#define VMT_CUDA_COMMON_CUH

#include "backend/cuda/cuda_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math_constants.h>
#include <type_traits>

enum { THREADS = 256, WARP = 32 };
enum { EIGHT = 8 }; /* BF16 elements of 16 bytes, the widest access */

__device__ inline float widen(float x)
{
    return x;
}
__device__ inline float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}
__device__ inline float widen(__half x)
{
    return __half2float(x);
}
__device__ inline float widen(double x)
{
    return (float)x;
}
__device__ inline void put(float *y, float x)
{
    *y = x;
}
__device__ inline void put(double *y, float x)
{
    *y = x;
}
__device__ inline void put(__nv_bfloat16 *y, float x)
{
    *y = __float2bfloat16_rn(x);
}
__device__ inline void put(__half *y, float x)
{
    *y = __float2half_rn(x);
}

/* Four neighbours at once, at an address that is a multiple of their size. */
__device__ inline float4 widen4(const float *x)
{
    return *(const float4 *)x;
}
__device__ inline float4 widen4(const __nv_bfloat16 *x)
{
    const uint2 raw = *(const uint2 *)x;
    const float2 a = __bfloat1622float2(*(const __nv_bfloat162 *)&raw.x);
    const float2 b = __bfloat1622float2(*(const __nv_bfloat162 *)&raw.y);
    return make_float4(a.x, a.y, b.x, b.y);
}
__device__ inline void put4(float *y, float4 x)
{
    *(float4 *)y = x;
}
__device__ inline void put4(__nv_bfloat16 *y, float4 x)
{
    const __nv_bfloat162 a = __floats2bfloat162_rn(x.x, x.y), b = __floats2bfloat162_rn(x.z, x.w);
    *(uint2 *)y = make_uint2(*(const unsigned *)&a, *(const unsigned *)&b);
}

/* Whether rows of `count` elements of a view can be read by fours. */
inline bool by_fours(cuda_view v, int64_t count)
{
    return count % 4 == 0 && (uintptr_t)v.data % (v.dtype == VMT_BF16 ? 8 : 16) == 0;
}

/* Sum over a warp, in each of its threads. */
__device__ inline float warp_sum(float x)
{
    for (int step = WARP / 2; step; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Sum of all threads' values, in every thread; the same order each time.  `room`: 33 values of
 * shared memory. */
template <typename T> __device__ inline T block_sum(T x, T *room)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int step = WARP / 2; step; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    if (lane == 0)
        room[warp] = x;
    __syncthreads();
    x = lane < warps ? room[lane] : T(0);
    for (int step = WARP / 2; step; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    __syncthreads();
    return x;
}

__device__ inline float block_max(float x, float *room)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int step = WARP / 2; step; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    if (lane == 0)
        room[warp] = x;
    __syncthreads();
    x = lane < warps ? room[lane] : -CUDART_INF_F;
    for (int step = WARP / 2; step; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    __syncthreads();
    return x;
}

/* f(pointer of the dtype): activations are F32 or BF16. */
template <typename F> inline cudaError_t with_act(enum vmt_dtype dtype, F f)
{
    if (dtype == VMT_BF16)
        return f((__nv_bfloat16 *)nullptr);
    if (dtype == VMT_F32)
        return f((float *)nullptr);
    return cudaErrorInvalidValue;
}

/* Blocks of THREADS for `count` elements in a loop that strides over the grid. */
inline unsigned grid_for(int64_t count)
{
    const int64_t blocks = (count + THREADS - 1) / THREADS;
    return (unsigned)(blocks < 1 ? 1 : blocks < 8192 ? blocks : 8192);
}

/* Threads of one block over the channels of a row: as few rounds as 512 allow, all of them full. */
inline unsigned channel_threads(int64_t d)
{
    const int64_t rounds = (d + 511) / 512, each = (d + rounds - 1) / rounds;
    return (unsigned)((each + WARP - 1) / WARP * WARP);
}

#define GRID_STRIDE(i, count)                                                                      \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (count);                  \
         i += (int64_t)gridDim.x * blockDim.x)

#endif
