/* SPDX-License-Identifier: MIT
 *
 * Local attention: tokens into tiles of queries and boxes of keys and back, and the sums of the
 * boxes' gradients.
 */
#include "backend/cuda/cuda_common.cuh"

/* First key of the boxes of tiles t of axis a. */
__device__ inline int box_first(const cuda_local_grid &g, int a, int t)
{
    const int first = t * g.tile[a] - (g.box[a] - g.tile[a]) / 2, last = g.grid[a] - g.box[a];
    return first < 0 ? 0 : first < last ? first : last;
}

/* A run of neighbouring tokens of a class: its first token in the grid.  A tile has count[0] ·
 * count[1] runs of count[2] tokens. */
__device__ inline int64_t run_token(const cuda_local_grid &g, const cuda_local_class &c, bool keys,
                                    const int count[3], int64_t run)
{
    const int rows = count[0] * count[1];
    const int tile = (int)(run / rows), inside = (int)(run - (int64_t)tile * rows);
    const int t[3] = {c.first[0] + tile / (c.along[1] * c.along[2]),
                      c.first[1] + tile / c.along[2] % c.along[1],
                      c.first[2] + tile % c.along[2]};
    int at[3];
    for (int a = 0; a < 3; a++)
        at[a] = keys ? box_first(g, a, t[a]) : t[a] * g.tile[a];
    at[0] += inside / count[1];
    at[1] += inside % count[1];
    return ((int64_t)at[0] * g.grid[1] + at[1]) * g.grid[2] + at[2];
}

/* One block per run.  A token is `part` pieces in a tile, `all` in the grid, the first of them
 * `offset` on. */
template <bool TO_TILE, typename Y, typename X>
__global__ void move_run(Y *y, const X *x, cuda_local_grid g, cuda_local_class c, bool keys,
                         int part, int all, int offset)
{
    const int count[3] = {keys ? g.box[0] : c.queries[0], keys ? g.box[1] : c.queries[1],
                          keys ? g.box[2] : c.queries[2]};
    const int pieces = count[2] * part;
    const int64_t in_tile = (int64_t)blockIdx.x * pieces;
    const int64_t in_grid = run_token(g, c, keys, count, blockIdx.x) * all + offset;

    for (int i = threadIdx.x; i < pieces; i += blockDim.x) {
        const int token = i / part;
        const int64_t a = in_tile + i, b = in_grid + (int64_t)token * all + (i - token * part);
        if constexpr (std::is_same<Y, X>::value)
            y[TO_TILE ? a : b] = x[TO_TILE ? b : a];
        else
            put(y + (TO_TILE ? a : b), widen(x[TO_TILE ? b : a]));
    }
}

template <typename Y, typename X>
static cudaError_t launch_move(cudaStream_t s, cuda_view tile, cuda_view grid, bool to_tile,
                               bool keys, const cuda_local_grid &g, const cuda_local_class &c,
                               const cuda_local_heads &h, int64_t piece)
{
    const int *const count = keys ? g.box : c.queries;
    const int64_t runs = (int64_t)c.along[0] * c.along[1] * c.along[2] * count[0] * count[1];
    const int part = (int)(h.part * h.d / piece), all = (int)(h.heads * h.d / piece);
    const int offset = (int)(h.first * h.d / piece);

    if (to_tile)
        move_run<true><<<(unsigned)runs, THREADS, 0, s>>>((Y *)tile.data, (const X *)grid.data, g, c,
                                                          keys, part, all, offset);
    else
        move_run<false><<<(unsigned)runs, THREADS, 0, s>>>((Y *)grid.data, (const X *)tile.data, g,
                                                           c, keys, part, all, offset);
    return cudaGetLastError();
}

extern "C" cudaError_t cuda_local_move(cudaStream_t s, cuda_view tile, cuda_view grid, bool to_tile,
                                       bool keys, cuda_local_grid g, cuda_local_class c,
                                       cuda_local_heads h)
{
    const int64_t item = tile.dtype == VMT_BF16 ? 2 : 4;

    if (tile.dtype != grid.dtype) {
        const cuda_view to = to_tile ? tile : grid, from = to_tile ? grid : tile;
        return with_act(to.dtype, [&](auto *y) {
            return with_act(from.dtype, [&](auto *x) {
                return launch_move<std::remove_pointer_t<decltype(y)>,
                                   std::remove_pointer_t<decltype(x)>>(s, tile, grid, to_tile, keys,
                                                                       g, c, h, 1);
            });
        });
    }
    if (h.d * item % 16 == 0 && ((uintptr_t)tile.data | (uintptr_t)grid.data) % 16 == 0)
        return launch_move<uint4, uint4>(s, tile, grid, to_tile, keys, g, c, h, 16 / item);
    if (item == 2)
        return launch_move<uint16_t, uint16_t>(s, tile, grid, to_tile, keys, g, c, h, 1);
    return launch_move<uint32_t, uint32_t>(s, tile, grid, to_tile, keys, g, c, h, 1);
}

/* tile: [tiles, part, queries], grid: [heads, N]. */
__global__ void move_lse(float *tile, float *grid, bool to_tile, cuda_local_grid g,
                         cuda_local_class c, cuda_local_heads h, int64_t count)
{
    const int64_t tokens = (int64_t)g.grid[0] * g.grid[1] * g.grid[2];
    const int64_t queries = (int64_t)c.queries[0] * c.queries[1] * c.queries[2];
    const int rows = c.queries[0] * c.queries[1];
    GRID_STRIDE(i, count)
    {
        const int64_t query = i % queries, head = i / queries % h.part;
        const int64_t run = i / (queries * h.part) * rows + query / c.queries[2];
        float *const at = grid + (h.first + head) * tokens +
                          run_token(g, c, false, c.queries, run) + query % c.queries[2];
        if (to_tile)
            tile[i] = *at;
        else
            *at = tile[i];
    }
}

extern "C" cudaError_t cuda_local_lse(cudaStream_t s, float *tile, float *grid, bool to_tile,
                                      cuda_local_grid g, cuda_local_class c, cuda_local_heads h)
{
    const int64_t tiles = (int64_t)c.along[0] * c.along[1] * c.along[2];
    const int64_t count = tiles * h.part * c.queries[0] * c.queries[1] * c.queries[2];

    move_lse<<<grid_for(count), THREADS, 0, s>>>(tile, grid, to_tile, g, c, h, count);
    return cudaGetLastError();
}

/* ---- sums */

template <int V, typename X> __device__ inline void add_piece(float sum[V], const X *x)
{
    if constexpr (V == EIGHT && std::is_same<X, __nv_bfloat16>::value) {
        const uint4 raw = *(const uint4 *)x;
        const __nv_bfloat162 *const two = (const __nv_bfloat162 *)&raw;
        for (int e = 0; e < 4; e++) {
            const float2 pair = __bfloat1622float2(two[e]);
            sum[2 * e] += pair.x;
            sum[2 * e + 1] += pair.y;
        }
    } else if constexpr (V == EIGHT) {
        const float4 low = widen4(x), high = widen4(x + 4);
        sum[0] += low.x, sum[1] += low.y, sum[2] += low.z, sum[3] += low.w;
        sum[4] += high.x, sum[5] += high.y, sum[6] += high.z, sum[7] += high.w;
    } else {
        sum[0] += widen(*x);
    }
}

template <int V, typename Y> __device__ inline void put_piece(Y *y, const float sum[V])
{
    if constexpr (V == EIGHT) {
        put4(y, make_float4(sum[0], sum[1], sum[2], sum[3]));
        put4(y + 4, make_float4(sum[4], sum[5], sum[6], sum[7]));
    } else {
        put(y, sum[0]);
    }
}

enum { SUM_COLUMNS = 8 }; /* of the grid, for one block */

/* Tiles first..last of axis a whose boxes hold place i. */
__device__ inline int2 tiles_with(const cuda_local_grid &g, int a, int i)
{
    const int margin = (g.box[a] - g.tile[a]) / 2, before = i - g.box[a];
    const int last = (g.grid[a] + g.tile[a] - 1) / g.tile[a] - 1;
    int2 range;

    range.x = before < 0 ? 0 : (before + margin) / g.tile[a] + 1;
    range.y = i >= g.grid[a] - g.box[a] ? last : min(last, (i + margin) / g.tile[a]);
    return range;
}

/* y[token, head, :] = Σ over the tiles whose boxes hold the token, in their order.  One block: some
 * columns of a row of a frame.  A token of V-element pieces: `part` in a box, `all` in y. */
template <int V, typename Y, typename X>
__global__ void sum_boxes(Y *y, const X *boxes, cuda_local_grid g, cuda_local_classes k, int part,
                          int all, int offset)
{
    __shared__ int2 columns[SUM_COLUMNS];
    const int frame = blockIdx.x / g.grid[1], row = blockIdx.x % g.grid[1];
    const int first = blockIdx.y * SUM_COLUMNS, count = min(SUM_COLUMNS, g.grid[2] - first);
    const int2 frames = tiles_with(g, 0, frame), rows = tiles_with(g, 1, row);
    const int box = g.box[0] * g.box[1] * g.box[2];

    if ((int)threadIdx.x < count)
        columns[threadIdx.x] = tiles_with(g, 2, first + threadIdx.x);
    __syncthreads();
    for (int i = threadIdx.x; i < count * part; i += blockDim.x) {
        const int column = i / part, piece = i - column * part;
        const int2 range = columns[column];
        float sum[V] = {0};
        for (int t0 = frames.x; t0 <= frames.y; t0++)
            for (int t1 = rows.x; t1 <= rows.y; t1++) {
                const int whole = (t0 >= k.whole[0]) * 4 + (t1 >= k.whole[1]) * 2;
                const int inside = (frame - box_first(g, 0, t0)) * g.box[1] + row -
                                   box_first(g, 1, t1);
                for (int t2 = range.x; t2 <= range.y; t2++) {
                    const cuda_local_class &c = k.classes[whole + (t2 >= k.whole[2])];
                    const int tile = ((t0 - c.first[0]) * c.along[1] + t1 - c.first[1]) *
                                         c.along[2] + t2 - c.first[2];
                    const int64_t token = (c.tile + tile) * box + inside * g.box[2] + first +
                                          column - box_first(g, 2, t2);
                    add_piece<V>(sum, boxes + (token * part + piece) * V);
                }
            }
        const int64_t token = ((int64_t)frame * g.grid[1] + row) * g.grid[2] + first + column;
        put_piece<V>(y + (token * all + offset + piece) * V, sum);
    }
}

template <int V, typename Y, typename X>
static cudaError_t launch_sum(cudaStream_t s, cuda_view y, cuda_view boxes,
                              const cuda_local_grid &g, const cuda_local_classes &k,
                              const cuda_local_heads &h)
{
    const dim3 blocks((unsigned)(g.grid[0] * g.grid[1]),
                      (unsigned)((g.grid[2] + SUM_COLUMNS - 1) / SUM_COLUMNS));

    sum_boxes<V><<<blocks, THREADS, 0, s>>>((Y *)y.data, (const X *)boxes.data, g, k,
                                            (int)(h.part * h.d / V), (int)(h.heads * h.d / V),
                                            (int)(h.first * h.d / V));
    return cudaGetLastError();
}

extern "C" cudaError_t cuda_local_sum(cudaStream_t s, cuda_view y, cuda_view boxes,
                                      cuda_local_grid g, cuda_local_classes k, cuda_local_heads h)
{
    const bool wide =
        h.d % EIGHT == 0 && ((uintptr_t)y.data | (uintptr_t)boxes.data) % 16 == 0;

    return with_act(y.dtype, [&](auto *to) {
        return with_act(boxes.dtype, [&](auto *from) {
            using Y = std::remove_pointer_t<decltype(to)>;
            using X = std::remove_pointer_t<decltype(from)>;
            return wide ? launch_sum<EIGHT, Y, X>(s, y, boxes, g, k, h)
                        : launch_sum<1, Y, X>(s, y, boxes, g, k, h);
        });
    });
}
