/* SPDX-License-Identifier: MIT
 *
 * Features of the methods beside FastVMT: the best keys of a query; means over cells, centring and
 * rows of length 1 of hidden states.
 */
#include "backend/cuda/cuda_common.cuh"

/* ---- the best keys of a query */

/* Unsigned integers in the order of the floats. */
__device__ inline uint32_t in_order(float x)
{
    const uint32_t bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline int count_from(const float *z, int64_t keys, uint32_t least, int *room)
{
    int count = 0;
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x)
        count += in_order(z[p]) >= least;
    return block_sum(count, room);
}

/* A block of threads per row: the smallest kept value is found bit by bit. */
__global__ void keep_top(float *z, int64_t keys, int64_t top)
{
    __shared__ int room[33];
    uint32_t least = 0;

    z += blockIdx.x * keys;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1)
        if (count_from(z, keys, least | bit, room) >= top)
            least |= bit;
    const int above = least == 0xffffffffu ? 0 : count_from(z, keys, least + 1, room);
    const int from = count_from(z, keys, least, room);
    if (from > top && threadIdx.x == 0) { /* a tie: the earlier keys win */
        int64_t left = top - above;
        for (int64_t p = 0; p < keys; p++)
            if (in_order(z[p]) == least && left-- <= 0)
                z[p] = -CUDART_INF_F;
    }
    for (int64_t p = threadIdx.x; p < keys; p += blockDim.x)
        if (in_order(z[p]) < least)
            z[p] = -CUDART_INF_F;
}

extern "C" cudaError_t cuda_keep_top(cudaStream_t s, float *z, int64_t rows, int64_t keys,
                                     int64_t top)
{
    if (top >= keys)
        return cudaSuccess;
    keep_top<<<(unsigned)rows, THREADS, 0, s>>>(z, keys, top);
    return cudaGetLastError();
}

/* ---- means over cells */

/* Entries first..end-1 of an axis of `size` that cell `a` of `cells` covers. */
struct span {
    int first, end;
};

__device__ inline span cell_span(int a, int cells, int size)
{
    return {a * size / cells, ((a + 1) * size + cells - 1) / cells};
}

__global__ void pool(float *y, const float *x, cuda_pooling p, int64_t d, int64_t count)
{
    const int cells = p.cells_h * p.cells_w;

    GRID_STRIDE(i, count)
    {
        const int cell = (int)(i / d % cells);
        const span r = cell_span(cell / p.cells_w, p.cells_h, p.grid_h);
        const span c = cell_span(cell % p.cells_w, p.cells_w, p.grid_w);
        const float *in = x + i / (d * cells) * p.grid_h * p.grid_w * d + i % d;
        double sum = 0;

        for (int row = r.first; row < r.end; row++)
            for (int col = c.first; col < c.end; col++)
                sum += (double)in[((int64_t)row * p.grid_w + col) * d];
        y[i] = (float)(sum / (double)((r.end - r.first) * (c.end - c.first)));
    }
}

extern "C" cudaError_t cuda_pool(cudaStream_t s, float *y, const float *x, cuda_pooling p,
                                 int64_t frames, int64_t d)
{
    const int64_t count = frames * p.cells_h * p.cells_w * d;
    pool<<<grid_for(count), THREADS, 0, s>>>(y, x, p, d, count);
    return cudaGetLastError();
}

__global__ void pool_bwd(float *dx, const float *dy, cuda_pooling p, int64_t d, int64_t count)
{
    const int64_t tokens = (int64_t)p.grid_h * p.grid_w;
    const int cells = p.cells_h * p.cells_w;

    GRID_STRIDE(i, count)
    {
        const int token = (int)(i / d % tokens), row = token / p.grid_w, col = token % p.grid_w;
        const float *in = dy + i / (d * tokens) * cells * d + i % d;
        float sum = 0;

        for (int cell = 0; cell < cells; cell++) {
            const span r = cell_span(cell / p.cells_w, p.cells_h, p.grid_h);
            const span c = cell_span(cell % p.cells_w, p.cells_w, p.grid_w);
            if (row >= r.first && row < r.end && col >= c.first && col < c.end)
                sum +=
                    (float)(1 / (double)((r.end - r.first) * (c.end - c.first))) * in[cell * d];
        }
        dx[i] = sum;
    }
}

extern "C" cudaError_t cuda_pool_bwd(cudaStream_t s, float *dx, const float *dy, cuda_pooling p,
                                     int64_t frames, int64_t d)
{
    const int64_t count = frames * p.grid_h * p.grid_w * d;
    pool_bwd<<<grid_for(count), THREADS, 0, s>>>(dx, dy, p, d, count);
    return cudaGetLastError();
}

/* ---- centring and rows of length 1 */

__global__ void centre(float *y, const float *x, int64_t group, int64_t d, int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t first = i / d * group * d + i % d;
        double sum = 0;

        for (int64_t g = 0; g < group; g++)
            sum += (double)x[first + g * d];
        for (int64_t g = 0; g < group; g++)
            y[first + g * d] = (float)((double)x[first + g * d] - sum / (double)group);
    }
}

extern "C" cudaError_t cuda_centre(cudaStream_t s, float *y, const float *x, int64_t n,
                                   int64_t group, int64_t d)
{
    centre<<<grid_for(n * d), THREADS, 0, s>>>(y, x, group, d, n * d);
    return cudaGetLastError();
}

__device__ const double SHORTEST = 1e-6; /* below this a row counts as this long */

__device__ inline double masked(const float *x, const float *mask, int64_t c)
{
    return (double)(mask ? mask[c] * x[c] : x[c]);
}

__device__ inline double masked_norm(const float *x, const float *mask, int64_t d, double *room)
{
    double squares = 0;
    for (int64_t c = threadIdx.x; c < d; c += blockDim.x)
        squares += masked(x, mask, c) * masked(x, mask, c);
    return sqrt(block_sum(squares, room));
}

/* A block of threads per row. */
__global__ void unit_rows(float *y, const float *x, const float *mask, int64_t d)
{
    __shared__ double room[33];

    x += blockIdx.x * d;
    y += blockIdx.x * d;
    const double factor = 1 / fmax(masked_norm(x, mask, d, room), SHORTEST);
    for (int64_t c = threadIdx.x; c < d; c += blockDim.x)
        y[c] = (float)(masked(x, mask, c) * factor);
}

extern "C" cudaError_t cuda_unit_rows(cudaStream_t s, float *y, const float *x, const float *mask,
                                      int64_t n, int64_t d)
{
    unit_rows<<<(unsigned)n, THREADS, 0, s>>>(y, x, mask, d);
    return cudaGetLastError();
}

__global__ void unit_rows_bwd(float *dx, const float *dy, const float *x, const float *mask,
                              int64_t d)
{
    __shared__ double room[33];

    x += blockIdx.x * d;
    dx += blockIdx.x * d;
    dy += blockIdx.x * d;
    const double norm = masked_norm(x, mask, d, room), factor = 1 / fmax(norm, SHORTEST);
    double along = 0; /* y·dy / ‖m ⊙ x‖ */
    for (int64_t c = threadIdx.x; c < d && norm >= SHORTEST; c += blockDim.x)
        along += masked(x, mask, c) * (double)dy[c];
    along = block_sum(along, room) * factor * factor;
    for (int64_t c = threadIdx.x; c < d; c += blockDim.x)
        dx[c] = (float)((mask ? (double)mask[c] : 1.0) *
                        ((double)dy[c] - masked(x, mask, c) * along) * factor);
}

extern "C" cudaError_t cuda_unit_rows_bwd(cudaStream_t s, float *dx, const float *dy,
                                          const float *x, const float *mask, int64_t n, int64_t d)
{
    unit_rows_bwd<<<(unsigned)n, THREADS, 0, s>>>(dx, dy, x, mask, d);
    return cudaGetLastError();
}
