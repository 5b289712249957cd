/* SPDX-License-Identifier: MIT
 *
 * The losses of the motion guidance.  Sums of a loss run in double, in a fixed order.
 */
#include "backend/cuda/cuda_common.cuh"

enum { MEAN_CHANNELS = 32, MEAN_GROUPS = 16 };

/* One block of threads: a frame's flow is small. */
__global__ void flow_loss(float *loss, float *dflow, const float *flow, const float *ref,
                          const float *weights, double weight, float factor, int64_t width,
                          int64_t count)
{
    __shared__ double room[33];
    double sum = 0;

    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const float difference = flow[i] - ref[i], share = weights ? weights[i / width] : 1;
        sum += (double)share * ((double)difference * (double)difference);
        if (dflow)
            dflow[i] = factor * share * difference;
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        *loss += (float)(weight * sum);
}

extern "C" cudaError_t cuda_flow_loss(cudaStream_t s, float *loss, float *dflow, const float *flow,
                                      const float *ref, const float *token_weights, double weight,
                                      float factor, int64_t tokens, int64_t width)
{
    flow_loss<<<1, 1024, 0, s>>>(loss, dflow, flow, ref, token_weights, weight, factor, width,
                                 width * tokens);
    return cudaGetLastError();
}

/* Token of entry p of a tile's window. */
__device__ inline int64_t key_token(const int32_t *rows, const int32_t *cols,
                                    const cuda_flow_geometry &g, int tile, int p)
{
    return (int64_t)rows[tile * g.window_h + p / g.window_w] * g.grid_w +
           cols[tile * g.window_w + p % g.window_w];
}

/* The mean of a window's keys, channel by channel: groups of threads take entries in turn and add
 * up in order. */
__global__ void window_mean(float *mean, const float *k, const int32_t *rows, const int32_t *cols,
                            cuda_flow_geometry g, int64_t d)
{
    __shared__ float partial[MEAN_GROUPS][MEAN_CHANNELS];
    const int tile = blockIdx.x, entries = g.window_h * g.window_w,
              channel = blockIdx.y * MEAN_CHANNELS + threadIdx.x;
    float sum = 0;

    if (channel < d)
        for (int p = threadIdx.y; p < entries; p += MEAN_GROUPS)
            sum += k[key_token(rows, cols, g, tile, p) * d + channel];
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || channel >= d)
        return;
    for (int group = 1; group < MEAN_GROUPS; group++)
        sum += partial[group][threadIdx.x];
    mean[tile * d + channel] = sum / (float)entries;
}

/* RELEASED: over the channels of each entry. */
__global__ void window_mean_released(float *mean, const float *k, const int32_t *rows,
                                     const int32_t *cols, cuda_flow_geometry g, int64_t d)
{
    const int tile = blockIdx.x, entries = g.window_h * g.window_w;

    for (int p = threadIdx.x; p < entries; p += blockDim.x) {
        float sum = 0;
        for (int64_t c = 0; c < d; c++)
            sum += k[key_token(rows, cols, g, tile, p) * d + c];
        mean[tile * entries + p] = sum / (float)d;
    }
}

extern "C" cudaError_t cuda_window_mean(cudaStream_t s, float *mean, const float *k,
                                        const int32_t *rows, const int32_t *cols,
                                        cuda_flow_geometry g, int64_t d)
{
    const dim3 blocks((unsigned)g.tiles, (unsigned)((d + MEAN_CHANNELS - 1) / MEAN_CHANNELS));
    if (g.released)
        window_mean_released<<<(unsigned)g.tiles, THREADS, 0, s>>>(mean, k, rows, cols, g, d);
    else
        window_mean<<<blocks, dim3(MEAN_CHANNELS, MEAN_GROUPS), 0, s>>>(mean, k, rows, cols, g, d);
    return cudaGetLastError();
}

/* A block of threads per key: how often each tile's window has it, then the sum over the tiles that
 * do, in order, channel by channel. */
__global__ void window_mean_bwd(float *dk, const float *dmean, const int32_t *rows,
                                const int32_t *cols, cuda_flow_geometry g, int64_t d)
{
    extern __shared__ int times[]; /* [tiles] */
    const int row = blockIdx.x / g.grid_w, col = blockIdx.x % g.grid_w,
              entries = g.window_h * g.window_w;

    for (int tile = threadIdx.x; tile < g.tiles; tile += blockDim.x) {
        int of_row = 0, of_col = 0;
        for (int a = 0; a < g.window_h; a++)
            of_row += rows[tile * g.window_h + a] == row;
        for (int b = 0; b < g.window_w; b++)
            of_col += cols[tile * g.window_w + b] == col;
        times[tile] = of_row * of_col;
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < d; c += blockDim.x) {
        float sum = 0;
        for (int tile = 0; tile < g.tiles; tile++) {
            if (!times[tile])
                continue;
            if (!g.released) {
                sum += (float)times[tile] * (dmean[tile * d + c] / (float)entries);
                continue;
            }
            for (int p = 0; p < entries; p++)
                if (key_token(rows, cols, g, tile, p) == (int64_t)blockIdx.x)
                    sum += dmean[tile * entries + p] / (float)d;
        }
        dk[(int64_t)blockIdx.x * d + c] += sum;
    }
}

extern "C" cudaError_t cuda_window_mean_bwd(cudaStream_t s, float *dk, const float *dmean,
                                            const int32_t *rows, const int32_t *cols,
                                            cuda_flow_geometry g, int64_t d)
{
    window_mean_bwd<<<(unsigned)(g.grid_h * g.grid_w), channel_threads(d),
                      (size_t)g.tiles * sizeof(int), s>>>(dk, dmean, rows, cols, g, d);
    return cudaGetLastError();
}

/* A block of threads per tile: norms[t] = m_t ‖b - a‖, and its gradient. */
__global__ void track_tiles(float *da, float *db, double *norms, const float *a, const float *b,
                            const float *weights, double weight, int64_t channels)
{
    __shared__ double room[33];
    const int64_t first = blockIdx.x * channels;
    const double share = weights ? (double)weights[blockIdx.x] : 1;
    double squares = 0;

    for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const double difference = (double)b[first + c] - (double)a[first + c];
        squares += difference * difference;
    }
    squares = block_sum(squares, room);
    if (threadIdx.x == 0)
        norms[blockIdx.x] = share * sqrt(squares);
    if (!da || squares == 0)
        return;
    const double factor = weight * share / sqrt(squares);
    for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const float unit = (float)(factor * ((double)b[first + c] - (double)a[first + c]));
        db[first + c] += unit;
        da[first + c] -= unit;
    }
}

__global__ void add_norms(float *loss, const double *norms, double weight, int64_t tiles)
{
    __shared__ double room[33];
    double sum = 0;

    for (int64_t t = threadIdx.x; t < tiles; t += blockDim.x)
        sum += norms[t];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        *loss += (float)(weight * sum);
}

extern "C" cudaError_t cuda_track_loss(cudaStream_t s, float *loss, float *da, float *db,
                                       double *norms, const float *a, const float *b,
                                       const float *tile_weights, double weight, double grad_scale,
                                       int64_t tiles, int64_t channels)
{
    track_tiles<<<(unsigned)tiles, THREADS, 0, s>>>(da, db, norms, a, b, tile_weights,
                                                    grad_scale * weight, channels);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        return error;
    add_norms<<<1, THREADS, 0, s>>>(loss, norms, weight, tiles);
    return cudaGetLastError();
}
