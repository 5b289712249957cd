/* SPDX-License-Identifier: MIT
 *
 * Elementwise kernels.  Outputs may be inputs, element by element.
 */
#include "backend/cuda/cuda_common.cuh"

/* 0.5 (1 + tanh u) = 1 / (1 + e⁻ᶻ), z = 2u = √(8/π) (x + 0.044715 x³). */
__device__ inline float gelu_z(float x)
{
    return 1.59576912f * (x + 0.044715f * x * x * x);
}

__device__ inline float gelu_of(float x)
{
    return x / (1.0f + expf(-gelu_z(x)));
}

/* With e = e⁻ᶻ, s = 1 / (1 + e): d(x s)/dx = s + x s (1 - s) dz/dx, and s (1 - s) = e s². */
__device__ inline float gelu_slope(float x)
{
    const float e = expf(-fmaxf(gelu_z(x), -80.0f)), share = 1.0f / (1.0f + e);
    return share + x * 1.59576912f * (1.0f + 0.134145f * x * x) * (e * share * share);
}

template <int MAP> __device__ inline float mapped(float x, float z)
{
    if (MAP == CUDA_GELU)
        return gelu_of(x);
    if (MAP == CUDA_SILU)
        return x / (1.0f + expf(-x));
    if (MAP == CUDA_GELU_BWD)
        return gelu_slope(z) * x;
    if (MAP == CUDA_GELU_GATE)
        return x * gelu_of(z);
    return x + z;
}

template <int MAP, typename Y, typename X, typename Z>
__global__ void map_kernel(Y *y, const X *x, const Z *z, int64_t count)
{
    GRID_STRIDE(i, count)
    put(y + i, mapped<MAP>(widen(x[i]), z ? widen(z[i]) : 0.0f));
}

template <int MAP, typename Y, typename X, typename Z>
__global__ void map_fours(Y *y, const X *x, const Z *z, int64_t fours)
{
    GRID_STRIDE(i, fours)
    {
        const float4 a = widen4(x + 4 * i), b = z ? widen4(z + 4 * i) : make_float4(0, 0, 0, 0);
        put4(y + 4 * i, make_float4(mapped<MAP>(a.x, b.x), mapped<MAP>(a.y, b.y),
                                    mapped<MAP>(a.z, b.z), mapped<MAP>(a.w, b.w)));
    }
}

template <int MAP>
static cudaError_t run_map(cudaStream_t s, cuda_view y, cuda_view x, cuda_view z, int64_t count)
{
    const bool fours = by_fours(y, count) && by_fours(x, count) && by_fours(z, count);
    return with_act(y.dtype, [&](auto *ty) {
        return with_act(x.dtype, [&](auto *tx) {
            return with_act(z.dtype, [&](auto *tz) {
                auto *const to = (decltype(ty))y.data;
                const auto *const from = (decltype(tx))x.data;
                const auto *const other = (decltype(tz))z.data;
                if (fours)
                    map_fours<MAP>
                        <<<grid_for(count / 4), THREADS, 0, s>>>(to, from, other, count / 4);
                else
                    map_kernel<MAP><<<grid_for(count), THREADS, 0, s>>>(to, from, other, count);
                return cudaGetLastError();
            });
        });
    });
}

extern "C" cudaError_t cuda_map(cudaStream_t s, enum cuda_map_kind map, cuda_view y, cuda_view x,
                                cuda_view z, int64_t count)
{
    switch (map) {
    case CUDA_GELU:
        return run_map<CUDA_GELU>(s, y, x, z, count);
    case CUDA_SILU:
        return run_map<CUDA_SILU>(s, y, x, z, count);
    case CUDA_GELU_BWD:
        return run_map<CUDA_GELU_BWD>(s, y, x, z, count);
    case CUDA_GELU_GATE:
        return run_map<CUDA_GELU_GATE>(s, y, x, z, count);
    case CUDA_ADD:
        return run_map<CUDA_ADD>(s, y, x, z, count);
    }
    return cudaErrorInvalidValue;
}

/* Every operation rounds by itself, as the samplers promise. */
__global__ void lincomb(float *y, const float *x, const float *z, float a, float b, int64_t count)
{
    GRID_STRIDE(i, count)
    y[i] = b == 0 ? a * x[i] : __fadd_rn(__fmul_rn(a, x[i]), __fmul_rn(b, z[i]));
}

extern "C" cudaError_t cuda_lincomb(cudaStream_t s, float *y, const float *x, const float *z,
                                    float a, float b, int64_t count)
{
    lincomb<<<grid_for(count), THREADS, 0, s>>>(y, x, z, a, b, count);
    return cudaGetLastError();
}

/* A block of threads per token. */
template <typename B>
__global__ void gate_residual(float *y, const float *x, const float *gate, const B *branch,
                              int64_t dim)
{
    const int64_t first = blockIdx.x * dim;
    for (int64_t c = threadIdx.x; c < dim; c += blockDim.x)
        y[first + c] = x[first + c] + (gate ? gate[c] : 1.0f) * widen(branch[first + c]);
}

template <typename B>
__global__ void gate_residual_fours(float *y, const float *x, const float *gate, const B *branch,
                                    int64_t dim)
{
    const int64_t first = blockIdx.x * dim;
    for (int64_t c = 4 * threadIdx.x; c < dim; c += 4 * blockDim.x) {
        const float4 a = widen4(x + first + c), b = widen4(branch + first + c);
        const float4 g = gate ? widen4(gate + c) : make_float4(1, 1, 1, 1);
        put4(y + first + c,
             make_float4(a.x + g.x * b.x, a.y + g.y * b.y, a.z + g.z * b.z, a.w + g.w * b.w));
    }
}

/* Whether a vector, which may be NULL, can be read by fours beside rows of dim elements. */
static bool vector_by_fours(const float *v, int64_t dim)
{
    return (uintptr_t)v % 16 == 0 && dim % 4 == 0;
}

extern "C" cudaError_t cuda_gate_residual(cudaStream_t s, float *y, const float *x,
                                          const float *gate, cuda_view branch, int64_t tokens,
                                          int64_t dim)
{
    const bool fours = by_fours(branch, dim) && vector_by_fours(gate, dim) &&
                       vector_by_fours(x, dim) && vector_by_fours(y, dim);
    return with_act(branch.dtype, [&](auto *b) {
        const auto *const from = (decltype(b))branch.data;
        if (fours)
            gate_residual_fours<<<(unsigned)tokens, channel_threads(dim / 4), 0, s>>>(y, x, gate,
                                                                                      from, dim);
        else
            gate_residual<<<(unsigned)tokens, channel_threads(dim), 0, s>>>(y, x, gate, from, dim);
        return cudaGetLastError();
    });
}

template <typename B>
__global__ void gate_residual_bwd(B *dbranch, const float *gate, const float *dy, int64_t dim)
{
    const int64_t first = blockIdx.x * dim;
    for (int64_t c = threadIdx.x; c < dim; c += blockDim.x)
        put(dbranch + first + c, (gate ? gate[c] : 1.0f) * dy[first + c]);
}

template <typename B>
__global__ void gate_residual_bwd_fours(B *dbranch, const float *gate, const float *dy, int64_t dim)
{
    const int64_t first = blockIdx.x * dim;
    for (int64_t c = 4 * threadIdx.x; c < dim; c += 4 * blockDim.x) {
        const float4 d = widen4(dy + first + c);
        const float4 g = gate ? widen4(gate + c) : make_float4(1, 1, 1, 1);
        put4(dbranch + first + c, make_float4(g.x * d.x, g.y * d.y, g.z * d.z, g.w * d.w));
    }
}

extern "C" cudaError_t cuda_gate_residual_bwd(cudaStream_t s, cuda_view dbranch, const float *gate,
                                              const float *dy, int64_t tokens, int64_t dim)
{
    const bool fours =
        by_fours(dbranch, dim) && vector_by_fours(gate, dim) && vector_by_fours(dy, dim);
    return with_act(dbranch.dtype, [&](auto *b) {
        auto *const to = (decltype(b))dbranch.data;
        if (fours)
            gate_residual_bwd_fours<<<(unsigned)tokens, channel_threads(dim / 4), 0, s>>>(to, gate,
                                                                                          dy, dim);
        else
            gate_residual_bwd<<<(unsigned)tokens, channel_threads(dim), 0, s>>>(to, gate, dy, dim);
        return cudaGetLastError();
    });
}

/* In ref's order, each operation rounded: signs of tiny moments decide steps of full size. */
__global__ void adamw_step(float *x, float *m, float *v, const float *g, cuda_adamw a,
                           int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const float mi = __fadd_rn(__fmul_rn(a.beta1, m[i]), __fmul_rn(a.rest1, g[i]));
        const float vi =
            __fadd_rn(__fmul_rn(a.beta2, v[i]), __fmul_rn(a.rest2, __fmul_rn(g[i], g[i])));
        const float step = __fdiv_rn(mi, __fadd_rn(__fdiv_rn(__fsqrt_rn(vi), a.root), a.eps));
        m[i] = mi;
        v[i] = vi;
        x[i] = __fsub_rn(__fmul_rn(x[i], a.keep), __fmul_rn(a.rate, step));
    }
}

extern "C" cudaError_t cuda_adamw_step(cudaStream_t s, float *x, float *m, float *v, const float *g,
                                       cuda_adamw a, int64_t count)
{
    adamw_step<<<grid_for(count), THREADS, 0, s>>>(x, m, v, g, a, count);
    return cudaGetLastError();
}
