/* SPDX-License-Identifier: MIT
 *
 * Conversion between floating dtypes, filters, the search for NaN and infinity.
 */
#include "backend/cuda/cuda_common.cuh"

template <typename F> static cudaError_t with_float(enum vmt_dtype dtype, F f)
{
    switch (dtype) {
    case VMT_F64:
        return f((double *)nullptr);
    case VMT_F16:
        return f((__half *)nullptr);
    default:
        return with_act(dtype, f);
    }
}

template <typename Y, typename X> __global__ void convert(Y *y, const X *x, int64_t count)
{
    GRID_STRIDE(i, count)
    put(y + i, widen(x[i]));
}

/* Doubles keep their digits. */
__global__ void convert_doubles(double *y, const double *x, int64_t count)
{
    GRID_STRIDE(i, count)
    y[i] = x[i];
}

extern "C" cudaError_t cuda_convert(cudaStream_t s, cuda_view y, cuda_view x, int64_t count)
{
    if (y.dtype == VMT_F64 && x.dtype == VMT_F64) {
        convert_doubles<<<grid_for(count), THREADS, 0, s>>>((double *)y.data,
                                                            (const double *)x.data, count);
        return cudaGetLastError();
    }
    return with_float(y.dtype, [&](auto *to) {
        return with_float(x.dtype, [&](auto *from) {
            convert<<<grid_for(count), THREADS, 0, s>>>((decltype(to))y.data,
                                                        (decltype(from))x.data, count);
            return cudaGetLastError();
        });
    });
}

template <typename Y, typename X> __global__ void filter_order(Y *y, const X *x, cuda_filter f)
{
    GRID_STRIDE(i, f.out_filled * f.in_filled * f.taps)
    {
        const int64_t c = i % f.in_filled, tap = i / f.in_filled % f.taps,
                      o = i / (f.in_filled * f.taps);
        put(y + i, o < f.out && c < f.in ? widen(x[(o * f.in + c) * f.taps + tap]) : 0.0f);
    }
}

extern "C" cudaError_t cuda_filter_order(cudaStream_t s, cuda_view y, cuda_view x, cuda_filter f)
{
    return with_act(y.dtype, [&](auto *to) {
        return with_float(x.dtype, [&](auto *from) {
            filter_order<<<grid_for(f.out_filled * f.in_filled * f.taps), THREADS, 0, s>>>(
                (decltype(to))y.data, (decltype(from))x.data, f);
            return cudaGetLastError();
        });
    });
}

template <typename X> __global__ void find_bad(int *bad, const X *x, int64_t count)
{
    bool found = false;
    GRID_STRIDE(i, count)
    found |= !isfinite(widen(x[i]));
    if (found)
        *bad = 1; /* whoever writes, writes 1 */
}

template <typename X> __global__ void find_bad_fours(int *bad, const X *x, int64_t fours)
{
    bool found = false;
    GRID_STRIDE(i, fours)
    {
        const float4 v = widen4(x + 4 * i);
        found |= !(isfinite(v.x) && isfinite(v.y) && isfinite(v.z) && isfinite(v.w));
    }
    if (found)
        *bad = 1;
}

extern "C" cudaError_t cuda_find_bad(cudaStream_t s, int *bad, cuda_view x, int64_t count)
{
    if ((x.dtype == VMT_F32 || x.dtype == VMT_BF16) && by_fours(x, count))
        return with_act(x.dtype, [&](auto *from) {
            find_bad_fours<<<grid_for(count / 4), THREADS, 0, s>>>(bad, (decltype(from))x.data,
                                                                   count / 4);
            return cudaGetLastError();
        });
    return with_float(x.dtype, [&](auto *from) {
        find_bad<<<grid_for(count), THREADS, 0, s>>>(bad, (decltype(from))x.data, count);
        return cudaGetLastError();
    });
}
