/* SPDX-License-Identifier: MIT
 *
 * Norms.  The threads of one row hold it in registers, by fours of neighbours, so that it is read
 * from memory once; short rows share a block of threads.  Sums run per thread in F32, over the
 * threads in F32 too.
 */
#include "backend/cuda/cuda_common.cuh"

enum { MOST_FOURS = 8, MOST_THREADS = 512, SHARED_ROWS = 8 };

/* The row of a thread.  blockDim.x threads a row, blockDim.y rows a block: more than one only where
 * a row has one warp. */
struct row_place {
    int64_t row, n;
    bool inside; /* the last block may have more rows than there are */
    float *room; /* of block_sum */
    __device__ row_place(int64_t rows, int64_t length, float *shared)
        : row((int64_t)blockIdx.x * blockDim.y + threadIdx.y), n(length), room(shared)
    {
        inside = row < rows;
        if (!inside)
            row = rows - 1;
    }
    __device__ float sum(float x) const
    {
        return blockDim.x == WARP ? warp_sum(x) : block_sum(x, room);
    }
};

/* The elements of a row that one thread holds: four j of it start at 4 (threadIdx.x + j
 * blockDim.x).  Beyond the row's end they are zero. */
template <int FOURS> struct row_part {
    float v[4 * FOURS];

    static __device__ int first(int j)
    {
        return 4 * ((int)threadIdx.x + j * (int)blockDim.x);
    }
    template <typename X> __device__ void load(const X *x, int64_t n, bool by_fours)
    {
#pragma unroll
        for (int j = 0; j < FOURS; j++) {
            const int at = first(j);
            float4 four = make_float4(0, 0, 0, 0);
            if (by_fours && at < n) {
                four = widen4(x + at);
            } else if (at < n) {
                four.x = widen(x[at]);
                four.y = at + 1 < n ? widen(x[at + 1]) : 0.0f;
                four.z = at + 2 < n ? widen(x[at + 2]) : 0.0f;
                four.w = at + 3 < n ? widen(x[at + 3]) : 0.0f;
            }
            v[4 * j] = four.x, v[4 * j + 1] = four.y;
            v[4 * j + 2] = four.z, v[4 * j + 3] = four.w;
        }
    }
    template <typename Y> __device__ void store(Y *y, int64_t n, bool by_fours) const
    {
#pragma unroll
        for (int j = 0; j < FOURS; j++) {
            const int at = first(j);
            if (by_fours && at < n)
                put4(y + at, make_float4(v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]));
            else
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (at + e < n)
                        put(y + at + e, v[4 * j + e]);
        }
    }
    /* The same from and to a view of either dtype: all threads take the same way. */
    __device__ void load(cuda_view x, const row_place &place, bool by_fours)
    {
        const int64_t start = place.row * place.n;
        if (x.dtype == VMT_BF16)
            load((const __nv_bfloat16 *)x.data + start, place.n, by_fours);
        else
            load((const float *)x.data + start, place.n, by_fours);
    }
    __device__ void store(cuda_view y, const row_place &place, bool by_fours) const
    {
        const int64_t start = place.row * place.n;
        if (!place.inside)
            return;
        if (y.dtype == VMT_BF16)
            store((__nv_bfloat16 *)y.data + start, place.n, by_fours);
        else
            store((float *)y.data + start, place.n, by_fours);
    }
};

/* How a kernel over rows is launched. */
struct row_launch {
    dim3 blocks, threads;
    int fours; /* per thread */
};

static row_launch launch_of(int64_t rows, int64_t n)
{
    const int64_t fours = (n + 3) / 4;
    unsigned threads = WARP;
    while (threads < MOST_THREADS && threads * (threads < 4 * WARP ? 2 : 5) < fours)
        threads *= 2;
    const unsigned together = threads == WARP ? SHARED_ROWS : 1;
    return (row_launch){dim3((unsigned)((rows + together - 1) / together)), dim3(threads, together),
                        (int)((fours + threads - 1) / threads)};
}

/* f(constant): elements per thread as a template's argument. */
template <typename F> static cudaError_t with_fours(int fours, F f)
{
    switch (fours) {
    case 1:
        return f(std::integral_constant<int, 1>());
    case 2:
        return f(std::integral_constant<int, 2>());
    case 3:
        return f(std::integral_constant<int, 3>());
    case 4:
        return f(std::integral_constant<int, 4>());
    case 5:
        return f(std::integral_constant<int, 5>());
    default:
        return fours <= MOST_FOURS ? f(std::integral_constant<int, MOST_FOURS>())
                                   : cudaErrorInvalidValue;
    }
}

/* Of a kernel over rows: the row of this thread. */
#define ROW_PLACE                                                                                  \
    __shared__ float room[33];                                                                     \
    const row_place place(rows, length, room)

static cuda_view view_of(const float *x)
{
    return (cuda_view){(void *)x, VMT_F32};
}

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

/* ---- RMS norm with RoPE */

/* The rotation of a token's pairs; cosines NULL: none. */
struct row_angles {
    const float *cosines, *sines;
    unsigned half; /* pairs of a head */
    __device__ row_angles(const float *all_cosines, const float *all_sines, int64_t token,
                          int pairs)
        : cosines(all_cosines ? all_cosines + token * pairs : nullptr),
          sines(all_sines ? all_sines + token * pairs : nullptr), half((unsigned)pairs)
    {
    }
    __device__ unsigned in_head(unsigned pair) const
    {
        return (half & (half - 1)) == 0 ? pair & (half - 1) : pair % half;
    }
    static __device__ void turn_pair(float *pair, float c, float d, bool back)
    {
        const float a = pair[0], b = pair[1], sine = back ? -d : d;
        pair[0] = a * c - b * sine;
        pair[1] = a * sine + b * c;
    }
    template <int FOURS> __device__ void turn(row_part<FOURS> &x, int64_t n, bool back) const
    {
        if (!cosines)
            return;
#pragma unroll
        for (int j = 0; j < FOURS; j++) {
            const int at = x.first(j);
            const unsigned first = in_head((unsigned)at / 2);
            if (at + 3 < n && half % 2 == 0) { /* both pairs in one head */
                const float2 c = *(const float2 *)(cosines + first),
                             d = *(const float2 *)(sines + first);
                turn_pair(x.v + 4 * j, c.x, d.x, back);
                turn_pair(x.v + 4 * j + 2, c.y, d.y, back);
                continue;
            }
            const unsigned second = in_head((unsigned)at / 2 + 1);
            if (at < n)
                turn_pair(x.v + 4 * j, cosines[first], sines[first], back);
            if (at + 2 < n)
                turn_pair(x.v + 4 * j + 2, cosines[second], sines[second], back);
        }
    }
};

template <int FOURS>
__device__ inline float inverse_rms(const row_part<FOURS> &x, const row_place &place, double eps)
{
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        squares += x.v[i] * x.v[i];
    return (float)(1 / sqrt((double)place.sum(squares) / (double)place.n + eps));
}

template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    rms_rope(cuda_view y, cuda_view x, const float *weight, const float *cosines,
             const float *sines, double eps, int64_t rows, int64_t length, int half, bool by_fours)
{
    ROW_PLACE;
    const row_angles angles(cosines, sines, place.row, half);
    row_part<FOURS> part, factor;
    part.load(x, place, by_fours);
    factor.load(weight, length, by_fours);
    const float r = inverse_rms(part, place, eps);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        part.v[i] = part.v[i] * r * factor.v[i];
    angles.turn(part, length, false);
    part.store(y, place, by_fours);
}

extern "C" cudaError_t cuda_rms_rope(cudaStream_t s, cuda_view y, cuda_view x, const float *weight,
                                     const float *cosines, const float *sines, double eps,
                                     int64_t tokens, int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const row_launch l = launch_of(tokens, n);
    const bool fours = by_fours(y, n) && by_fours(x, n) && by_fours(view_of(weight), n);
    return with_fours(l.fours, [&](auto count) {
        rms_rope<count.value><<<l.blocks, l.threads, 0, s>>>(y, x, weight, cosines, sines, eps,
                                                             tokens, n, (int)(head_dim / 2), fours);
        return cudaGetLastError();
    });
}

/* The rotation is undone by -angle; with G = that ⊙ weight: dx = r G - x r³ mean(G x). */
template <int FOURS>
__global__ void __launch_bounds__(MOST_THREADS)
    rms_rope_bwd(cuda_view dx, cuda_view dy, cuda_view x, const float *weight, const float *cosines,
                 const float *sines, double eps, int64_t rows, int64_t length, int half,
                 bool by_fours)
{
    ROW_PLACE;
    const row_angles angles(cosines, sines, place.row, half);
    row_part<FOURS> part, g, factor;
    float along = 0;
    part.load(x, place, by_fours);
    g.load(dy, place, by_fours);
    factor.load(weight, length, by_fours);
    const float r = inverse_rms(part, place, eps);
    angles.turn(g, length, true);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++) {
        g.v[i] *= factor.v[i];
        along += g.v[i] * part.v[i];
    }
    const float shrink = r * r * r * (place.sum(along) / (float)length);
#pragma unroll
    for (int i = 0; i < 4 * FOURS; i++)
        g.v[i] = r * g.v[i] - part.v[i] * shrink;
    g.store(dx, place, by_fours);
}

extern "C" cudaError_t cuda_rms_rope_bwd(cudaStream_t s, cuda_view dx, cuda_view dy, cuda_view x,
                                         const float *weight, const float *cosines,
                                         const float *sines, double eps, int64_t tokens,
                                         int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const row_launch l = launch_of(tokens, n);
    const bool fours =
        by_fours(dx, n) && by_fours(dy, n) && by_fours(x, n) && by_fours(view_of(weight), n);
    return with_fours(l.fours, [&](auto count) {
        rms_rope_bwd<count.value><<<l.blocks, l.threads, 0, s>>>(
            dx, dy, x, weight, cosines, sines, eps, tokens, n, (int)(head_dim / 2), fours);
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
enum { CELLS = 4, EIGHT = 8 };

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
