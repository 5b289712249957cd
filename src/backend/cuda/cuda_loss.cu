/* SPDX-License-Identifier: MIT
 *
 * The losses of the motion guidance.  Sums of a loss run in double, in a fixed order.
 */
#include "backend/cuda/cuda_common.cuh"

/* One block of threads: a frame's flow is small. */
__global__ void flow_loss(float *loss, float *dflow, const float *flow, const float *ref,
                          const float *weights, double weight, float factor, int64_t count)
{
    __shared__ double room[33];
    double sum = 0;

    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const float difference = flow[i] - ref[i], share = weights ? weights[i / 2] : 1;
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
                                      float factor, int64_t tokens)
{
    flow_loss<<<1, 1024, 0, s>>>(loss, dflow, flow, ref, token_weights, weight, factor, 2 * tokens);
    return cudaGetLastError();
}

/* Token of entry p of a tile's window. */
__device__ inline int64_t key_token(const int32_t *rows, const int32_t *cols,
                                    const cuda_flow_geometry &g, int tile, int p)
{
    return (int64_t)rows[tile * g.window_h + p / g.window_w] * g.grid_w +
           cols[tile * g.window_w + p % g.window_w];
}

/* RELEASED: over the channels of each entry; else over the entries, channel by channel. */
__global__ void window_mean(float *mean, const float *k, const int32_t *rows, const int32_t *cols,
                            cuda_flow_geometry g, int64_t d)
{
    const int tile = blockIdx.x, entries = g.window_h * g.window_w;
    const int64_t width = g.released ? entries : d;

    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
        float sum = 0;
        if (g.released)
            for (int64_t c = 0; c < d; c++)
                sum += k[key_token(rows, cols, g, tile, (int)i) * d + c];
        else
            for (int p = 0; p < entries; p++)
                sum += k[key_token(rows, cols, g, tile, p) * d + i];
        mean[tile * width + i] = sum / (float)(g.released ? d : entries);
    }
}

extern "C" cudaError_t cuda_window_mean(cudaStream_t s, float *mean, const float *k,
                                        const int32_t *rows, const int32_t *cols,
                                        cuda_flow_geometry g, int64_t d)
{
    window_mean<<<(unsigned)g.tiles, THREADS, 0, s>>>(mean, k, rows, cols, g, d);
    return cudaGetLastError();
}

/* A block of threads per key, over the channels; tiles and entries in order. */
__global__ void window_mean_bwd(float *dk, const float *dmean, const int32_t *rows,
                                const int32_t *cols, cuda_flow_geometry g, int64_t d)
{
    const int row = blockIdx.x / g.grid_w, col = blockIdx.x % g.grid_w,
              entries = g.window_h * g.window_w;

    for (int64_t c = threadIdx.x; c < d; c += blockDim.x) {
        float sum = 0;
        for (int tile = 0; tile < g.tiles; tile++)
            for (int a = 0; a < g.window_h; a++) {
                if (rows[tile * g.window_h + a] != row)
                    continue;
                for (int b = 0; b < g.window_w; b++)
                    if (cols[tile * g.window_w + b] == col)
                        sum += g.released ? dmean[tile * entries + a * g.window_w + b] / (float)d
                                          : dmean[tile * d + c] / (float)entries;
            }
        dk[(int64_t)blockIdx.x * d + c] += sum;
    }
}

extern "C" cudaError_t cuda_window_mean_bwd(cudaStream_t s, float *dk, const float *dmean,
                                            const int32_t *rows, const int32_t *cols,
                                            cuda_flow_geometry g, int64_t d)
{
    const unsigned channels = channel_threads(d);
    window_mean_bwd<<<(unsigned)(g.grid_h * g.grid_w), channels, 0, s>>>(dk, dmean, rows, cols, g,
                                                                         d);
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
