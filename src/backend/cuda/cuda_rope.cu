/* SPDX-License-Identifier: MIT
 *
 * RMS norm with rotary embedding, both directions.
 */
#include "backend/cuda/cuda_rows.cuh"

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

/* ---- BF16 rows of the lengths that models have: 16 bytes at a time.  LANES threads hold a row, a
 * warp or a block of four, CHUNKS times eight elements each; LANES * 8 is a multiple of the head,
 * so that a thread meets the same angles in each of its chunks. */

enum { MOST_CHUNKS = 6, WIDE_BLOCK = 4 * WARP };

template <int LANES, int CHUNKS> struct wide_row {
    uint4 raw[CHUNKS];

    static __device__ int lane()
    {
        return (int)threadIdx.x % LANES;
    }
    static __device__ int64_t row()
    {
        return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    }
    static __device__ int first(int chunk)
    {
        return EIGHT * (lane() + chunk * LANES);
    }
    __device__ void load(const __nv_bfloat16 *x)
    {
        const __nv_bfloat16 *const start = x + row() * (EIGHT * LANES * CHUNKS);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            raw[c] = *(const uint4 *)(start + first(c));
    }
    __device__ void store(__nv_bfloat16 *y) const
    {
        __nv_bfloat16 *const start = y + row() * (EIGHT * LANES * CHUNKS);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            *(uint4 *)(start + first(c)) = raw[c];
    }
    /* Chunk c, widened; and back, rounded. */
    __device__ void get(int c, float *v) const
    {
        const __nv_bfloat162 *const pairs = (const __nv_bfloat162 *)&raw[c];
#pragma unroll
        for (int e = 0; e < EIGHT / 2; e++) {
            const float2 pair = __bfloat1622float2(pairs[e]);
            v[2 * e] = pair.x, v[2 * e + 1] = pair.y;
        }
    }
    __device__ void set(int c, const float *v)
    {
        __nv_bfloat162 *const pairs = (__nv_bfloat162 *)&raw[c];
#pragma unroll
        for (int e = 0; e < EIGHT / 2; e++)
            pairs[e] = __floats2bfloat162_rn(v[2 * e], v[2 * e + 1]);
    }
    static __device__ float sum(float x, float *room)
    {
        return LANES == WARP ? warp_sum(x) : block_sum(x, room);
    }
};

/* Eight neighbours of a vector in F32. */
__device__ inline void widen8(float *v, const float *x)
{
    const float4 a = widen4(x), b = widen4(x + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* The four angles of a thread. */
struct wide_angles {
    float4 c, s;
    bool turns;
    __device__ wide_angles(const float *cosines, const float *sines, int64_t token, int lane,
                           int half)
        : c(make_float4(1, 1, 1, 1)), s(make_float4(0, 0, 0, 0)), turns(cosines != nullptr)
    {
        const int64_t at = token * half + lane * (EIGHT / 2) % half;
        if (turns)
            c = widen4(cosines + at), s = widen4(sines + at);
    }
    __device__ void turn(float *v, bool back) const
    {
        if (!turns)
            return;
        row_angles::turn_pair(v, c.x, s.x, back);
        row_angles::turn_pair(v + 2, c.y, s.y, back);
        row_angles::turn_pair(v + 4, c.z, s.z, back);
        row_angles::turn_pair(v + 6, c.w, s.w, back);
    }
};

template <int LANES, int CHUNKS>
__global__ void __launch_bounds__(WIDE_BLOCK)
    rms_rope_wide(__nv_bfloat16 *y, const __nv_bfloat16 *x, const float *weight,
                  const float *cosines, const float *sines, double eps, int64_t rows, int half)
{
    __shared__ float room[33];
    wide_row<LANES, CHUNKS> part;
    float squares = 0, v[EIGHT], factor[EIGHT];

    if (part.row() >= rows) /* a whole warp, or a whole block, at once */
        return;
    part.load(x);
    const wide_angles angles(cosines, sines, part.row(), part.lane(), half);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        part.get(c, v);
#pragma unroll
        for (int e = 0; e < EIGHT; e++)
            squares += v[e] * v[e];
    }
    const int n = EIGHT * LANES * CHUNKS;
    const float r = (float)(1 / sqrt((double)part.sum(squares, room) / (double)n + eps));
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        part.get(c, v);
        widen8(factor, weight + part.first(c));
#pragma unroll
        for (int e = 0; e < EIGHT; e++)
            v[e] = v[e] * r * factor[e];
        angles.turn(v, false);
        part.set(c, v);
    }
    part.store(y);
}

template <int LANES, int CHUNKS>
__global__ void __launch_bounds__(WIDE_BLOCK)
    rms_rope_bwd_wide(__nv_bfloat16 *dx, const __nv_bfloat16 *dy, const __nv_bfloat16 *x,
                      const float *weight, const float *cosines, const float *sines, double eps,
                      int64_t rows, int half)
{
    __shared__ float room[33];
    wide_row<LANES, CHUNKS> part, grad;
    float squares = 0, along = 0, v[EIGHT], g[EIGHT], factor[EIGHT];
    const int n = EIGHT * LANES * CHUNKS;

    if (part.row() >= rows)
        return;
    part.load(x);
    grad.load(dy);
    const wide_angles angles(cosines, sines, part.row(), part.lane(), half);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        part.get(c, v);
        grad.get(c, g);
        widen8(factor, weight + part.first(c));
        angles.turn(g, true);
#pragma unroll
        for (int e = 0; e < EIGHT; e++) {
            squares += v[e] * v[e];
            along += g[e] * factor[e] * v[e];
        }
    }
    const float r = (float)(1 / sqrt((double)part.sum(squares, room) / (double)n + eps));
    const float shrink = r * r * r * (part.sum(along, room) / (float)n);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        part.get(c, v);
        grad.get(c, g);
        widen8(factor, weight + part.first(c));
        angles.turn(g, true);
#pragma unroll
        for (int e = 0; e < EIGHT; e++)
            g[e] = r * (g[e] * factor[e]) - v[e] * shrink;
        grad.set(c, g);
    }
    grad.store(dx);
}

static bool is_wide(cuda_view v)
{
    return v.dtype == VMT_BF16 && (uintptr_t)v.data % 16 == 0;
}

struct wide_launch {
    int lanes, chunks; /* chunks 0: rows do not divide so */
    unsigned blocks;
};

static wide_launch wide_launch_of(int64_t rows, int64_t n, int64_t head_dim, const float *weight,
                                  const float *cosines, const float *sines)
{
    const uintptr_t vectors = (uintptr_t)weight | (uintptr_t)cosines | (uintptr_t)sines;

    for (int lanes = WARP; lanes <= WIDE_BLOCK && vectors % 16 == 0; lanes += WIDE_BLOCK - WARP) {
        const int64_t step = EIGHT * lanes;
        if (n % step || n / step > MOST_CHUNKS || head_dim % EIGHT || (cosines && step % head_dim))
            continue;
        const int64_t together = WIDE_BLOCK / lanes;
        return (wide_launch){lanes, (int)(n / step), (unsigned)((rows + together - 1) / together)};
    }
    return (wide_launch){0, 0, 0};
}

/* f(lanes, chunks), both constants. */
template <typename F> static cudaError_t with_chunks(wide_launch w, F f)
{
    const auto call = [&](auto chunks) {
        return w.lanes == WARP ? f(std::integral_constant<int, WARP>(), chunks)
                               : f(std::integral_constant<int, WIDE_BLOCK>(), chunks);
    };
    switch (w.chunks) {
    case 1:
        return call(std::integral_constant<int, 1>());
    case 2:
        return call(std::integral_constant<int, 2>());
    case 3:
        return call(std::integral_constant<int, 3>());
    case 4:
        return call(std::integral_constant<int, 4>());
    case 5:
        return call(std::integral_constant<int, 5>());
    default:
        return call(std::integral_constant<int, MOST_CHUNKS>());
    }
}

/* ---- either way */

extern "C" cudaError_t cuda_rms_rope(cudaStream_t s, cuda_view y, cuda_view x, const float *weight,
                                     const float *cosines, const float *sines, double eps,
                                     int64_t tokens, int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const wide_launch w = wide_launch_of(tokens, n, head_dim, weight, cosines, sines);
    if (w.chunks && is_wide(y) && is_wide(x))
        return with_chunks(w, [&](auto lanes, auto chunks) {
            rms_rope_wide<lanes.value, chunks.value><<<w.blocks, WIDE_BLOCK, 0, s>>>(
                (__nv_bfloat16 *)y.data, (const __nv_bfloat16 *)x.data, weight, cosines, sines, eps,
                tokens, (int)(head_dim / 2));
            return cudaGetLastError();
        });
    const row_launch l = launch_of(tokens, n);
    const bool fours = by_fours(y, n) && by_fours(x, n) && by_fours(view_of(weight), n);
    return with_fours(l.fours, [&](auto count) {
        rms_rope<count.value><<<l.blocks, l.threads, 0, s>>>(y, x, weight, cosines, sines, eps,
                                                             tokens, n, (int)(head_dim / 2), fours);
        return cudaGetLastError();
    });
}

extern "C" cudaError_t cuda_rms_rope_bwd(cudaStream_t s, cuda_view dx, cuda_view dy, cuda_view x,
                                         const float *weight, const float *cosines,
                                         const float *sines, double eps, int64_t tokens,
                                         int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const wide_launch w = wide_launch_of(tokens, n, head_dim, weight, cosines, sines);
    if (w.chunks && is_wide(dx) && is_wide(dy) && is_wide(x))
        return with_chunks(w, [&](auto lanes, auto chunks) {
            rms_rope_bwd_wide<lanes.value, chunks.value><<<w.blocks, WIDE_BLOCK, 0, s>>>(
                (__nv_bfloat16 *)dx.data, (const __nv_bfloat16 *)dy.data,
                (const __nv_bfloat16 *)x.data, weight, cosines, sines, eps, tokens,
                (int)(head_dim / 2));
            return cudaGetLastError();
        });
    const row_launch l = launch_of(tokens, n);
    const bool fours =
        by_fours(dx, n) && by_fours(dy, n) && by_fours(x, n) && by_fours(view_of(weight), n);
    return with_fours(l.fours, [&](auto count) {
        rms_rope_bwd<count.value><<<l.blocks, l.threads, 0, s>>>(
            dx, dy, x, weight, cosines, sines, eps, tokens, n, (int)(head_dim / 2), fours);
        return cudaGetLastError();
    });
}
