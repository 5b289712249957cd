/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow: expected position of a softmax over keys, minus the query's own. Component
 * 0 = rows, 1 = columns.  Backward of one query with keys k_p at (u_p, v_p), a = softmax(s q·k),
 * (ū, v̄) the expected position, g = dflow:  dz_p = s a_p (g_u (u_p - ū) + g_v (v_p - v̄));  dq = Σ_p
 * dz_p k_p;  dk_p += dz_p q. Source: FastVMT, attention motion flow.
 */
#include "backend/cuda/cuda_common.cuh"

/* ---- reduction over the heads */

template <typename Q>
__global__ void qk_reduce(float *reduced, const Q *q, bool released, int64_t heads, int64_t d,
                          int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t t = i / d, c = i % d;
        float sum = 0;
        for (int64_t a = 0; a < heads; a++) {
            const int64_t from =
                released ? (t / heads * heads + a) * heads + t % heads : t * heads + a;
            sum += widen(q[from * d + c]);
        }
        reduced[i] = sum / (float)heads;
    }
}

extern "C" cudaError_t cuda_qk_reduce(cudaStream_t s, float *reduced, cuda_view q, bool released,
                                      int64_t tokens, int64_t heads, int64_t d)
{
    return with_act(q.dtype, [&](auto *from) {
        qk_reduce<<<grid_for(tokens * d), THREADS, 0, s>>>(reduced, (decltype(from))q.data,
                                                           released, heads, d, tokens * d);
        return cudaGetLastError();
    });
}

template <typename Q>
__global__ void qk_reduce_bwd(Q *dq, const float *dreduced, bool released, int64_t heads, int64_t d,
                              int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t c = i % d, head = i / d % heads, t = i / (d * heads);
        const int64_t from = released ? t / heads * heads + head : t;
        put(dq + i, dreduced[from * d + c] / (float)heads);
    }
}

extern "C" cudaError_t cuda_qk_reduce_bwd(cudaStream_t s, cuda_view dq, const float *dreduced,
                                          bool released, int64_t tokens, int64_t heads, int64_t d)
{
    return with_act(dq.dtype, [&](auto *to) {
        qk_reduce_bwd<<<grid_for(tokens * heads * d), THREADS, 0, s>>>(
            (decltype(to))dq.data, dreduced, released, heads, d, tokens * heads * d);
        return cudaGetLastError();
    });
}

/* ---- all keys of a frame; the products are the caller's */

/* Softmax of a row of logits as `most`, `sum` and the weighted positions. */
struct expectation {
    float most;
    double sum, u, v;
};

__device__ inline expectation expect(const float *z, float scale, int64_t keys, int grid_w,
                                     float *room, double *wide_room)
{
    expectation e = {-CUDART_INF_F, 0, 0, 0};
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x)
        e.most = fmaxf(e.most, scale * z[p]);
    e.most = block_max(e.most, room);
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x) {
        const double a = (double)expf(scale * z[p] - e.most);
        e.sum += a;
        e.u += a * (double)(p / grid_w);
        e.v += a * (double)(p % grid_w);
    }
    e.sum = block_sum(e.sum, wide_room);
    e.u = block_sum(e.u, wide_room) / e.sum;
    e.v = block_sum(e.v, wide_room) / e.sum;
    return e;
}

__global__ void flow_expect(float *flow, const float *z, float scale, int64_t keys, int grid_w,
                            bool own)
{
    __shared__ float room[33];
    __shared__ double wide_room[33];
    const int64_t i = blockIdx.x;
    const expectation e = expect(z + i * keys, scale, keys, grid_w, room, wide_room);

    if (threadIdx.x)
        return;
    flow[2 * i] = (float)(e.u - (own ? (double)(i / grid_w) : 0));
    flow[2 * i + 1] = (float)(e.v - (own ? (double)(i % grid_w) : 0));
}

extern "C" cudaError_t cuda_flow_expect(cudaStream_t s, float *flow, const float *z, float scale,
                                        int64_t rows, int64_t keys, int grid_w, bool own)
{
    flow_expect<<<(unsigned)rows, THREADS, 0, s>>>(flow, z, scale, keys, grid_w, own);
    return cudaGetLastError();
}

__global__ void flow_full_dz(float *z, const float *dflow, const float *flow, float scale,
                             int64_t keys, int grid_w)
{
    __shared__ float room[33];
    const int64_t i = blockIdx.x;
    const float mean_u = flow[2 * i] + (float)(i / grid_w),
                mean_v = flow[2 * i + 1] + (float)(i % grid_w);
    float most = -CUDART_INF_F, sum = 0;

    z += i * keys;
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x)
        most = fmaxf(most, scale * z[p]);
    most = block_max(most, room);
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x)
        sum += expf(scale * z[p] - most);
    const float factor = scale / block_sum(sum, room);
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x) {
        const float away = dflow[2 * i] * ((float)(p / grid_w) - mean_u) +
                           dflow[2 * i + 1] * ((float)(p % grid_w) - mean_v);
        z[p] = expf(scale * z[p] - most) * factor * away;
    }
}

extern "C" cudaError_t cuda_flow_full_dz(cudaStream_t s, float *z, const float *dflow,
                                         const float *flow, float scale, int64_t tokens, int grid_w)
{
    flow_full_dz<<<(unsigned)tokens, THREADS, 0, s>>>(z, dflow, flow, scale, tokens, grid_w);
    return cudaGetLastError();
}

/* ---- where each tile looks */

__device__ inline int tiles_across(const cuda_flow_geometry &g)
{
    return (g.grid_w + g.tile_w - 1) / g.tile_w;
}

__global__ void flow_centres(float *rows, const float *q, cuda_flow_geometry g, int64_t d)
{
    GRID_STRIDE(i, g.tiles * d)
    {
        const int tile = (int)(i / d), across = tiles_across(g);
        const int row = min(tile / across * g.tile_h + g.tile_h / 2, g.grid_h - 1);
        const int col = min(tile % across * g.tile_w + g.tile_w / 2, g.grid_w - 1);
        rows[i] = q[(int64_t)(row * g.grid_w + col) * d + i % d];
    }
}

extern "C" cudaError_t cuda_flow_centres(cudaStream_t s, float *rows, const float *q,
                                         cuda_flow_geometry g, int64_t d)
{
    flow_centres<<<grid_for(g.tiles * d), THREADS, 0, s>>>(rows, q, g, d);
    return cudaGetLastError();
}

/* Entries of one axis: a window of `count` around `centre`, which lies in [0, size).  As ref's
 * window_axis. */
__device__ inline int32_t window_entry(float centre, int o, int count, int size, bool released)
{
    if (released) {
        const int half = count / 2;
        const float low = (float)half, high = (float)(size - half - 1);
        float at = centre + (float)(o - half);
        at = at >= low ? at : low; /* a NaN, too, becomes an index inside */
        at = at <= high ? at : high;
        return (int32_t)at;
    }
    const double rounded = floor((double)(centre + 0.5f));
    const double last = (double)(size - count), wanted = rounded - (double)(count / 2);
    return (int32_t)(wanted >= 0 ? (wanted <= last ? wanted : last) : 0) + o;
}

__global__ void flow_place(int32_t *rows, int32_t *cols, const float *centre, cuda_flow_geometry g)
{
    const int wide = g.window_h + g.window_w;
    GRID_STRIDE(i, g.tiles * wide)
    {
        const int tile = (int)(i / wide), o = (int)(i % wide);
        if (o < g.window_h)
            rows[tile * g.window_h + o] =
                window_entry(centre[2 * tile], o, g.window_h, g.grid_h, g.released);
        else
            cols[tile * g.window_w + o - g.window_h] = window_entry(
                centre[2 * tile + 1], o - g.window_h, g.window_w, g.grid_w, g.released);
    }
}

extern "C" cudaError_t cuda_flow_place(cudaStream_t s, int32_t *rows, int32_t *cols,
                                       const float *centre, cuda_flow_geometry g)
{
    flow_place<<<grid_for((int64_t)g.tiles * (g.window_h + g.window_w)), THREADS, 0, s>>>(
        rows, cols, centre, g);
    return cudaGetLastError();
}

/* ---- keys of a window: one block of threads per tile, a warp per query */

/* Token n of a tile: its place in the frame, its row of the flow, its own position. */
struct query {
    int token, flow_row;
    float own_u, own_v;
};

__device__ inline int tile_tokens(const cuda_flow_geometry &g, int tile, int *cols)
{
    const int across = tiles_across(g), first_row = tile / across * g.tile_h,
              first_col = tile % across * g.tile_w;
    *cols = min(g.tile_w, g.grid_w - first_col);
    return min(g.tile_h, g.grid_h - first_row) * *cols;
}

__device__ inline query query_of(const cuda_flow_geometry &g, int tile, int n, int cols)
{
    const int across = tiles_across(g), first_row = tile / across * g.tile_h,
              first_col = tile % across * g.tile_w;
    const int row = n / cols, col = n % cols;
    query q;
    q.token = (first_row + row) * g.grid_w + first_col + col;
    q.flow_row = g.released ? tile * g.tile_h * g.tile_w + row * g.tile_w + col : q.token;
    q.own_u = (float)(g.released ? row : first_row + row);
    q.own_v = (float)(g.released ? col : first_col + col);
    return q;
}

/* Entry p of a tile's window: its token, and the position it counts as. */
struct key {
    int token;
    float u, v;
};

__device__ inline key key_of(const cuda_flow_geometry &g, const int32_t *rows, const int32_t *cols,
                             int p)
{
    const int a = p / g.window_w, b = p % g.window_w;
    key k;
    k.token = rows[a] * g.grid_w + cols[b];
    k.u = (float)(g.released ? (p % 2 ? 0 : a) : rows[a]);
    k.v = (float)(g.released ? (p % 2 ? 0 : b) : cols[b]);
    return k;
}

/* Shared memory of a warp: its query, [d]. */
__device__ inline float dot(const float *query, const float *k, int64_t d)
{
    float sum = 0;
    if (d % 4 == 0) {
        for (int64_t c = 0; c < d; c += 4) {
            const float4 a = *(const float4 *)(query + c), b = *(const float4 *)(k + c);
            sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
        return sum;
    }
    for (int64_t c = 0; c < d; c++)
        sum += query[c] * k[c];
    return sum;
}

/* A running softmax with its expected position; merged over lanes in a fixed order. */
struct running {
    float most, sum, u, v;
};

__device__ inline void add_logit(running *r, float z, float u, float v)
{
    const float most = fmaxf(r->most, z);
    const float keep = expf(r->most - most), a = expf(z - most);
    r->sum = r->sum * keep + a;
    r->u = r->u * keep + a * u;
    r->v = r->v * keep + a * v;
    r->most = most;
}

__device__ inline running merge_lanes(running r)
{
    for (int step = WARP / 2; step; step /= 2) {
        const running other = {
            __shfl_xor_sync(0xffffffffu, r.most, step), __shfl_xor_sync(0xffffffffu, r.sum, step),
            __shfl_xor_sync(0xffffffffu, r.u, step), __shfl_xor_sync(0xffffffffu, r.v, step)};
        const float most = fmaxf(r.most, other.most);
        const float keep = r.sum > 0 ? expf(r.most - most) : 0,
                    add = other.sum > 0 ? expf(other.most - most) : 0;
        /* the sum of two numbers does not depend on their order: both lanes get the same bits */
        r = {most, r.sum * keep + other.sum * add, r.u * keep + other.u * add,
             r.v * keep + other.v * add};
    }
    return r;
}

/* Softmax over the window and expected position in one pass; z, when given, receives the row's
 * scaled logits. */
__device__ inline running walk_window(const cuda_flow_geometry &g, const float *query,
                                      const float *k, const int32_t *rows, const int32_t *cols,
                                      float scale, int64_t d, float *z)
{
    running r = {-CUDART_INF_F, 0, 0, 0};
    for (int p = threadIdx.x % WARP; p < g.window_h * g.window_w; p += WARP) {
        const key at = key_of(g, rows, cols, p);
        const float logit = scale * dot(query, k + (int64_t)at.token * d, d);
        if (z)
            z[p] = logit;
        add_logit(&r, logit, at.u, at.v);
    }
    return merge_lanes(r);
}

__global__ void flow_windowed(float *flow, const float *q, const float *k, const int32_t *rows,
                              const int32_t *cols, cuda_flow_geometry g, float scale, int64_t d)
{
    extern __shared__ float4 shared4[];
    const int tile = blockIdx.x, warp = threadIdx.x / WARP, warps = blockDim.x / WARP,
              lane = threadIdx.x % WARP;
    float *const mine = (float *)shared4 + warp * ((d + 3) / 4 * 4);
    int across;
    const int count = tile_tokens(g, tile, &across);

    rows += tile * g.window_h;
    cols += tile * g.window_w;
    for (int n = warp; n < count; n += warps) {
        const query at = query_of(g, tile, n, across);
        for (int64_t c = lane; c < d; c += WARP)
            mine[c] = q[(int64_t)at.token * d + c];
        __syncwarp();
        const running r = walk_window(g, mine, k, rows, cols, scale, d, nullptr);
        if (lane == 0) {
            flow[2 * at.flow_row] = r.u / r.sum - at.own_u;
            flow[2 * at.flow_row + 1] = r.v / r.sum - at.own_v;
        }
        __syncwarp();
    }
}

extern "C" cudaError_t cuda_flow_windowed(cudaStream_t s, float *flow, const float *q,
                                          const float *k, const int32_t *rows, const int32_t *cols,
                                          cuda_flow_geometry g, float scale, int64_t d)
{
    const size_t bytes = THREADS / WARP * (size_t)((d + 3) / 4 * 4) * sizeof(float);
    flow_windowed<<<(unsigned)g.tiles, THREADS, bytes, s>>>(flow, q, k, rows, cols, g, scale, d);
    return cudaGetLastError();
}

/* dz of a tile's queries, and dq += Σ dz k. */
__global__ void flow_windowed_dq(float *dq, float *dz, const float *dflow, const float *flow,
                                 const float *q, const float *k, const int32_t *rows,
                                 const int32_t *cols, cuda_flow_geometry g, float scale, int64_t d)
{
    extern __shared__ float4 shared4[];
    const int tile = blockIdx.x, warp = threadIdx.x / WARP, warps = blockDim.x / WARP,
              lane = threadIdx.x % WARP;
    const int entries = g.window_h * g.window_w;
    float *const mine = (float *)shared4 + warp * ((d + 3) / 4 * 4);
    int across;
    const int count = tile_tokens(g, tile, &across);

    rows += tile * g.window_h;
    cols += tile * g.window_w;
    for (int n = warp; n < count; n += warps) {
        const query at = query_of(g, tile, n, across);
        float *const z = dz + (int64_t)at.flow_row * entries;
        for (int64_t c = lane; c < d; c += WARP)
            mine[c] = q[(int64_t)at.token * d + c];
        __syncwarp();
        const running r = walk_window(g, mine, k, rows, cols, scale, d, z);
        const float mean_u = flow[2 * at.flow_row] + at.own_u,
                    mean_v = flow[2 * at.flow_row + 1] + at.own_v;
        const float g_u = dflow[2 * at.flow_row], g_v = dflow[2 * at.flow_row + 1],
                    factor = scale / r.sum;
        for (int p = lane; p < entries; p += WARP) {
            const key to = key_of(g, rows, cols, p);
            z[p] = expf(z[p] - r.most) * factor * (g_u * (to.u - mean_u) + g_v * (to.v - mean_v));
        }
        __syncwarp();
        for (int64_t c = lane; c < d; c += WARP) {
            float sum = 0;
            for (int p = 0; p < entries; p++)
                sum += z[p] * k[(int64_t)key_of(g, rows, cols, p).token * d + c];
            dq[(int64_t)at.token * d + c] += sum;
        }
        __syncwarp();
    }
}

/* dk of one key += Σ dz q over tiles, entries and tokens in order: a block of threads per key, over
 * the channels. */
__global__ void flow_windowed_dk(float *dk, const float *dz, const float *q, const int32_t *rows,
                                 const int32_t *cols, cuda_flow_geometry g, int64_t d)
{
    const int token = blockIdx.x, row = token / g.grid_w, col = token % g.grid_w,
              entries = g.window_h * g.window_w;

    for (int64_t c = threadIdx.x; c < d; c += blockDim.x) {
        float sum = 0;
        for (int tile = 0; tile < g.tiles; tile++) {
            int across;
            const int count = tile_tokens(g, tile, &across);
            for (int a = 0; a < g.window_h; a++) {
                if (rows[tile * g.window_h + a] != row)
                    continue;
                for (int b = 0; b < g.window_w; b++) {
                    if (cols[tile * g.window_w + b] != col)
                        continue;
                    for (int n = 0; n < count; n++) {
                        const query at = query_of(g, tile, n, across);
                        sum += dz[(int64_t)at.flow_row * entries + a * g.window_w + b] *
                               q[(int64_t)at.token * d + c];
                    }
                }
            }
        }
        dk[(int64_t)token * d + c] += sum;
    }
}

extern "C" cudaError_t cuda_flow_windowed_bwd(cudaStream_t s, float *dq, float *dk, float *dz,
                                              const float *dflow, const float *flow, const float *q,
                                              const float *k, const int32_t *rows,
                                              const int32_t *cols, cuda_flow_geometry g,
                                              float scale, int64_t d)
{
    const size_t bytes = THREADS / WARP * (size_t)((d + 3) / 4 * 4) * sizeof(float);
    const unsigned channels = channel_threads(d);

    flow_windowed_dq<<<(unsigned)g.tiles, THREADS, bytes, s>>>(dq, dz, dflow, flow, q, k, rows,
                                                               cols, g, scale, d);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        return error;
    flow_windowed_dk<<<(unsigned)(g.grid_h * g.grid_w), channels, 0, s>>>(dk, dz, q, rows, cols, g,
                                                                          d);
    return cudaGetLastError();
}
