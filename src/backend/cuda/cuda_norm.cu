/* SPDX-License-Identifier: MIT
 *
 * Layer norm, both directions and behind a residual sum; the VAE's norm.
 */
#include "backend/cuda/cuda_rows.cuh"

/* ---- layer norm */

/* x becomes x̂ = (x - mean) rstd; returns rstd.  The variance is biased and centred. */
template <int FOURS>
__device__ inline float normalise(row_part<FOURS> &x, const row_place &place, double eps)
{
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        sum += x.v[i];
    const float mean = place.sum(sum) / (float)place.n;
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++) {
        x.v[i] = x.first(i / 4) + i % 4 < place.n ? x.v[i] - mean : 0.0f;
        squares += x.v[i] * x.v[i];
    }
    const float rstd = (float)(1 / sqrt((double)place.sum(squares) / (double)place.n + eps));
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        x.v[i] *= rstd;
    return rstd;
}

template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    norm(cuda_view y, cuda_view x, const float *factor, const float *offset, float plus_one,
         double eps, int64_t rows, int64_t length, bool by_fours)
{
    ROW_PLACE;
    row_part<FOURS> part, scale, shift;
    part.load(x, place, by_fours);
    normalise(part, place, eps);
    scale.load(factor, length, by_fours);
    shift.load(offset, length, by_fours);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        part.v[i] = part.v[i] * (plus_one + scale.v[i]) + shift.v[i];
    part.store(y, place, by_fours);
}

extern "C" cudaError_t cuda_norm(cudaStream_t s, cuda_view y, const float *x, const float *factor,
                                 const float *offset, float plus_one, double eps, int64_t tokens,
                                 int64_t dim)
{
    const row_launch l = launch_of(tokens, dim);
    const cuda_view from = view_of(x);
    const bool fours = by_fours(y, dim) && by_fours(from, dim) && by_fours(view_of(factor), dim) &&
                       by_fours(view_of(offset), dim);
    return with_fours(l.fours, [&](auto count) {
        norm<count.value><<<l.blocks, l.threads, 0, s>>>(y, from, factor, offset, plus_one, eps,
                                                         tokens, dim, fours);
        return cudaGetLastError();
    });
}

/* y = x + gate branch, and its norm, while the sum is at hand. */
template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    residual_norm(cuda_view y, cuda_view normed, cuda_view x, const float *gate, cuda_view branch,
                  const float *factor, const float *offset, float plus_one, double eps,
                  int64_t rows, int64_t length, bool by_fours)
{
    ROW_PLACE;
    row_part<FOURS> sum, part, vector;
    sum.load(x, place, by_fours);
    part.load(branch, place, by_fours);
    if (gate) {
        vector.load(gate, length, by_fours);
#pragma unroll
        for (int i = 0; i < 4 * FOURS; i++)
            sum.v[i] += vector.v[i] * part.v[i];
    } else {
#pragma unroll
        for (int i = 0; i < 4 * FOURS; i++)
            sum.v[i] += part.v[i];
    }
    sum.store(y, place, by_fours);
    normalise(sum, place, eps);
    vector.load(factor, length, by_fours);
    part.load(offset, length, by_fours);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        sum.v[i] = sum.v[i] * (plus_one + vector.v[i]) + part.v[i];
    sum.store(normed, place, by_fours);
}

extern "C" cudaError_t cuda_residual_norm(cudaStream_t s, float *y, cuda_view normed,
                                          const float *x, const float *gate, cuda_view branch,
                                          const float *factor, const float *offset, float plus_one,
                                          double eps, int64_t tokens, int64_t dim)
{
    const row_launch l = launch_of(tokens, dim);
    const cuda_view to = view_of(y), from = view_of(x);
    const bool fours = by_fours(to, dim) && by_fours(normed, dim) && by_fours(from, dim) &&
                       by_fours(branch, dim) && by_fours(view_of(gate), dim) &&
                       by_fours(view_of(factor), dim) && by_fours(view_of(offset), dim);
    return with_fours(l.fours, [&](auto count) {
        residual_norm<count.value><<<l.blocks, l.threads, 0, s>>>(
            to, normed, from, gate, branch, factor, offset, plus_one, eps, tokens, dim, fours);
        return cudaGetLastError();
    });
}

/* With G = dy (plus_one + factor): dx += rstd (G - mean G - x̂ mean(G x̂)). */
template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    norm_bwd_acc(cuda_view dx, cuda_view dy, cuda_view x, const float *factor, float plus_one,
                 double eps, int64_t rows, int64_t length, bool by_fours)
{
    ROW_PLACE;
    row_part<FOURS> hat, g, scale, total;
    float sum = 0, along = 0;
    hat.load(x, place, by_fours);
    g.load(dy, place, by_fours);
    scale.load(factor, length, by_fours);
    const float rstd = normalise(hat, place, eps);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++) {
        g.v[i] *= plus_one + scale.v[i];
        sum += g.v[i];
        along += g.v[i] * hat.v[i];
    }
    sum = place.sum(sum) / (float)length;
    along = place.sum(along) / (float)length;
    total.load(dx, place, by_fours);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        total.v[i] += rstd * (g.v[i] - sum - hat.v[i] * along);
    total.store(dx, place, by_fours);
}

extern "C" cudaError_t cuda_norm_bwd_acc(cudaStream_t s, float *dx, cuda_view dy, const float *x,
                                         const float *factor, float plus_one, double eps,
                                         int64_t tokens, int64_t dim)
{
    const row_launch l = launch_of(tokens, dim);
    const cuda_view to = view_of(dx), given = view_of(x);
    const bool fours = by_fours(to, dim) && by_fours(dy, dim) && by_fours(given, dim) &&
                       by_fours(view_of(factor), dim);
    return with_fours(l.fours, [&](auto count) {
        norm_bwd_acc<count.value><<<l.blocks, l.threads, 0, s>>>(to, dy, given, factor, plus_one,
                                                                 eps, tokens, dim, fours);
        return cudaGetLastError();
    });
}

/* ---- the VAE's norm: over the channels of a cell */

template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    rms_channel(cuda_view y, cuda_view x, const float *gamma, bool silu, int64_t rows,
                int64_t length, bool by_fours)
{
    ROW_PLACE;
    row_part<FOURS> part, factor;
    float squares = 0;
    part.load(x, place, by_fours);
    factor.load(gamma, length, by_fours);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        squares += part.v[i] * part.v[i];
    const float r = sqrtf((float)length) / fmaxf(sqrtf(place.sum(squares)), 1e-12f);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++) {
        const float z = part.v[i] * r * factor.v[i];
        part.v[i] = silu ? z / (1.0f + expf(-z)) : z;
    }
    part.store(y, place, by_fours);
}

/* The same for BF16 rows of few channels: LANES threads hold a row by eights, each thread works on
 * CELLS rows at once, so that enough bytes are on their way. */
enum { CELLS = 4 };

template <int LANES>
__global__ void __launch_bounds__(THREADS)
    rms_cells(__nv_bfloat16 *y, const __nv_bfloat16 *x, const float *gamma, bool silu, int64_t rows,
              int n)
{
    const int lane = threadIdx.x % LANES, at = EIGHT * lane;
    const int64_t groups = (int64_t)gridDim.x * blockDim.x / LANES,
                  first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    float v[CELLS][EIGHT], factor[EIGHT];
#pragma unroll
    for (int e = 0; e < EIGHT; e++)
        factor[e] = at < n ? gamma[at + e] : 0.0f;
#pragma unroll
    for (int c = 0; c < CELLS; c++) {
        const int64_t row = first + c * groups;
        uint4 raw = make_uint4(0, 0, 0, 0);
        if (row < rows && at < n)
            raw = *(const uint4 *)(x + row * n + at);
        const __nv_bfloat162 *const pairs = (const __nv_bfloat162 *)&raw;
#pragma unroll
        for (int e = 0; e < EIGHT / 2; e++) {
            const float2 pair = __bfloat1622float2(pairs[e]);
            v[c][2 * e] = pair.x, v[c][2 * e + 1] = pair.y;
        }
    }
#pragma unroll
    for (int c = 0; c < CELLS; c++) {
        const int64_t row = first + c * groups;
        float squares = 0;
#pragma unroll
        for (int e = 0; e < EIGHT; e++)
            squares += v[c][e] * v[c][e];
#pragma unroll
        for (int step = LANES / 2; step; step /= 2)
            squares += __shfl_xor_sync(0xffffffffu, squares, step);
        const float r = sqrtf((float)n) / fmaxf(sqrtf(squares), 1e-12f);
        uint4 raw;
        __nv_bfloat162 *const pairs = (__nv_bfloat162 *)&raw;
#pragma unroll
        for (int e = 0; e < EIGHT / 2; e++) {
            float a = v[c][2 * e] * r * factor[2 * e], b = v[c][2 * e + 1] * r * factor[2 * e + 1];
            if (silu) /* what the fast functions lose is far below BF16's rounding */
                a = __fdividef(a, 1.0f + __expf(-a)), b = __fdividef(b, 1.0f + __expf(-b));
            pairs[e] = __floats2bfloat162_rn(a, b);
        }
        if (row < rows && at < n)
            *(uint4 *)(y + row * n + at) = raw;
    }
}

template <int LANES>
static cudaError_t launch_cells(cudaStream_t s, cuda_view y, cuda_view x, const float *gamma,
                                bool silu, int64_t rows, int64_t channels)
{
    const int64_t a_block = (int64_t)THREADS / LANES * CELLS;
    rms_cells<LANES><<<(unsigned)((rows + a_block - 1) / a_block), THREADS, 0, s>>>(
        (__nv_bfloat16 *)y.data, (const __nv_bfloat16 *)x.data, gamma, silu, rows, (int)channels);
    return cudaGetLastError();
}

extern "C" cudaError_t cuda_rms_channel(cudaStream_t s, cuda_view y, cuda_view x,
                                        const float *gamma, bool silu, int64_t rows,
                                        int64_t channels)
{
    const bool eights = y.dtype == VMT_BF16 && x.dtype == VMT_BF16 && channels % EIGHT == 0 &&
                        ((uintptr_t)y.data | (uintptr_t)x.data) % 16 == 0;
    if (eights && channels <= 16 * EIGHT)
        return launch_cells<16>(s, y, x, gamma, silu, rows, channels);
    if (eights && channels <= 32 * EIGHT)
        return launch_cells<32>(s, y, x, gamma, silu, rows, channels);
    const row_launch l = launch_of(rows, channels);
    const bool fours =
        by_fours(y, channels) && by_fours(x, channels) && by_fours(view_of(gamma), channels);
    return with_fours(l.fours, [&](auto count) {
        rms_channel<count.value>
            <<<l.blocks, l.threads, 0, s>>>(y, x, gamma, silu, rows, channels, fours);
        return cudaGetLastError();
    });
}
