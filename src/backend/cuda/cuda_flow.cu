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
    const int count = (int)keys; /* of a frame: dividing them by its width is dear in 64 bits */
    expectation e = {-CUDART_INF_F, 0, 0, 0};
    for (int p = (int)threadIdx.x; p < count; p += (int)blockDim.x)
        e.most = fmaxf(e.most, scale * z[p]);
    e.most = block_max(e.most, room);
    for (int p = (int)threadIdx.x; p < count; p += (int)blockDim.x) {
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
    const int count = (int)keys;
    const float mean_u = flow[2 * i] + (float)(i / grid_w),
                mean_v = flow[2 * i + 1] + (float)(i % grid_w);
    const float du = dflow[2 * i], dv = dflow[2 * i + 1];
    float most = -CUDART_INF_F, sum = 0;

    z += i * keys;
    for (int p = (int)threadIdx.x; p < count; p += (int)blockDim.x)
        most = fmaxf(most, scale * z[p]);
    most = block_max(most, room);
    for (int p = (int)threadIdx.x; p < count; p += (int)blockDim.x)
        sum += z[p] = expf(scale * z[p] - most);
    const float factor = scale / block_sum(sum, room);
    for (int p = (int)threadIdx.x; p < count; p += (int)blockDim.x)
        z[p] = z[p] * factor *
               (du * ((float)(p / grid_w) - mean_u) + dv * ((float)(p % grid_w) - mean_v));
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

/* ---- keys of a window
 *
 * The logits of all pairs are a product, cheaper than reading a window's keys again for each tile;
 * a block of threads per query then looks at those of its window.  An entry may stand in a window
 * twice, and counts twice. */

/* A token as a query: its tile, its row of the flow, its own position. */
struct query {
    int tile, flow_row;
    float own_u, own_v;
};

__device__ inline query query_of(const cuda_flow_geometry &g, int token)
{
    const int row = token / g.grid_w, col = token % g.grid_w;
    const int in_row = row % g.tile_h, in_col = col % g.tile_w;
    query q;
    q.tile = row / g.tile_h * tiles_across(g) + col / g.tile_w;
    q.flow_row = g.released ? q.tile * g.tile_h * g.tile_w + in_row * g.tile_w + in_col : token;
    q.own_u = (float)(g.released ? in_row : row);
    q.own_v = (float)(g.released ? in_col : col);
    return q;
}

/* Position that entry (a, b) of a window counts as. */
__device__ inline float2 entry_place(const cuda_flow_geometry &g, const int32_t *rows,
                                     const int32_t *cols, int a, int b)
{
    if (!g.released)
        return make_float2((float)rows[a], (float)cols[b]);
    return (a * g.window_w + b) % 2 ? make_float2(0, 0) : make_float2((float)a, (float)b);
}

/* Softmax over a window: the greatest logit, the sum, the weighted positions. */
struct window_softmax {
    float most, sum, u, v;
};

/* z: the query's row, [grid_h · grid_w]; rows, cols: of its tile. */
__device__ inline window_softmax look(const cuda_flow_geometry &g, const float *z, float scale,
                                      const int32_t *rows, const int32_t *cols, float *room)
{
    const int entries = g.window_h * g.window_w;
    window_softmax w = {-CUDART_INF_F, 0, 0, 0};

    for (int p = threadIdx.x; p < entries; p += blockDim.x)
        w.most = fmaxf(w.most, scale * z[rows[p / g.window_w] * g.grid_w + cols[p % g.window_w]]);
    w.most = block_max(w.most, room);
    for (int p = threadIdx.x; p < entries; p += blockDim.x) {
        const int row = p / g.window_w, col = p % g.window_w;
        const float e = expf(scale * z[rows[row] * g.grid_w + cols[col]] - w.most);
        const float2 at = entry_place(g, rows, cols, row, col);
        w.sum += e;
        w.u += e * at.x;
        w.v += e * at.y;
    }
    w.sum = block_sum(w.sum, room);
    w.u = block_sum(w.u, room);
    w.v = block_sum(w.v, room);
    return w;
}

enum { QUERY_THREADS = 128 };

__global__ void flow_windowed(float *flow, const float *z, const int32_t *rows, const int32_t *cols,
                              cuda_flow_geometry g, float scale)
{
    __shared__ float room[33];
    const query q = query_of(g, (int)blockIdx.x);
    const window_softmax w = look(g, z + (int64_t)blockIdx.x * g.grid_h * g.grid_w, scale,
                                  rows + q.tile * g.window_h, cols + q.tile * g.window_w, room);

    if (threadIdx.x)
        return;
    flow[2 * q.flow_row] = w.u / w.sum - q.own_u;
    flow[2 * q.flow_row + 1] = w.v / w.sum - q.own_v;
}

extern "C" cudaError_t cuda_flow_windowed(cudaStream_t s, float *flow, const float *z,
                                          const int32_t *rows, const int32_t *cols,
                                          cuda_flow_geometry g, float scale)
{
    flow_windowed<<<(unsigned)(g.grid_h * g.grid_w), QUERY_THREADS, 0, s>>>(flow, z, rows, cols, g,
                                                                            scale);
    return cudaGetLastError();
}

/* A query's row of logits becomes its row of dz: zero outside the window. */
__global__ void flow_windowed_dz(float *z, const float *dflow, const float *flow,
                                 const int32_t *rows, const int32_t *cols, cuda_flow_geometry g,
                                 float scale)
{
    __shared__ float room[33];
    const query q = query_of(g, (int)blockIdx.x);
    const int keys = g.grid_h * g.grid_w;
    const float mean_u = flow[2 * q.flow_row] + q.own_u,
                mean_v = flow[2 * q.flow_row + 1] + q.own_v, g_u = dflow[2 * q.flow_row],
                g_v = dflow[2 * q.flow_row + 1];

    z += (int64_t)blockIdx.x * keys;
    rows += q.tile * g.window_h;
    cols += q.tile * g.window_w;
    const window_softmax w = look(g, z, scale, rows, cols, room);
    const float factor = scale / w.sum;
    for (int p = threadIdx.x; p < keys; p += blockDim.x) {
        const int row = p / g.grid_w, col = p % g.grid_w;
        float away = 0; /* over the entries that are this key */
        for (int a = 0; a < g.window_h; a++) {
            if (rows[a] != row)
                continue;
            for (int b = 0; b < g.window_w; b++) {
                if (cols[b] != col)
                    continue;
                const float2 at = entry_place(g, rows, cols, a, b);
                away += g_u * (at.x - mean_u) + g_v * (at.y - mean_v);
            }
        }
        z[p] = away == 0 ? 0.0f : expf(scale * z[p] - w.most) * factor * away;
    }
}

extern "C" cudaError_t cuda_flow_windowed_dz(cudaStream_t s, float *z, const float *dflow,
                                             const float *flow, const int32_t *rows,
                                             const int32_t *cols, cuda_flow_geometry g, float scale)
{
    flow_windowed_dz<<<(unsigned)(g.grid_h * g.grid_w), QUERY_THREADS, 0, s>>>(z, dflow, flow, rows,
                                                                               cols, g, scale);
    return cudaGetLastError();
}
