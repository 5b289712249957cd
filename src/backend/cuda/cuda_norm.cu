/* SPDX-License-Identifier: MIT
 *
 * Norms: one block of threads per row, which it reads from memory once when it fits in shared
 * memory (rows of up to ROW_LIMIT) and again for each pass when it does not.  Sums run per thread
 * in F32, over the threads in F32 too.
 */
#include "backend/cuda/cuda_common.cuh"

enum { ROW_LIMIT = 8192 };

/* The row at `x` as floats: in `row` when there is room for it, else where it lies. */
template <typename X> struct row_of {
    const X *x;
    float *row;
    __device__ row_of(const X *from, float *room, int64_t n)
        : x(from), row(n <= ROW_LIMIT ? room : nullptr)
    {
        if (row)
            for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
                row[i] = widen(x[i]);
        __syncthreads();
    }
    __device__ float operator[](int64_t i) const
    {
        return row ? row[i] : widen(x[i]);
    }
};

static size_t row_bytes(int64_t n, int rows)
{
    return n <= ROW_LIMIT ? (size_t)(n * rows) * sizeof(float) : 0;
}

/* Blocks with two rows of ROW_LIMIT need more shared memory than a kernel gets unasked. */
template <typename K> static cudaError_t allow_rows(K kernel, size_t bytes)
{
    if (bytes <= 48 * 1024)
        return cudaSuccess;
    return cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)bytes);
}

static unsigned row_threads(int64_t n)
{
    unsigned threads = WARP;
    while (threads < THREADS && threads * 4 < n)
        threads *= 2;
    return threads;
}

/* Mean and 1 / sqrt(var + eps); the variance is biased and centred. */
template <typename X>
__device__ inline void moments(const row_of<X> &x, int64_t n, double eps, float *room, float *mean,
                               float *rstd)
{
    float sum = 0, squares = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += x[i];
    *mean = block_sum(sum, room) / (float)n;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *rstd = (float)(1 / sqrt((double)block_sum(squares, room) / (double)n + eps));
}

template <typename Y>
__global__ void norm(Y *y, const float *x, const float *factor, const float *offset, float plus_one,
                     double eps, int64_t n)
{
    extern __shared__ float shared[];
    __shared__ float room[33];
    const int64_t first = (int64_t)blockIdx.x * n;
    const row_of<float> row(x + first, shared, n);
    float mean, rstd;
    moments(row, n, eps, room, &mean, &rstd);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        put(y + first + i, (row[i] - mean) * rstd * (plus_one + factor[i]) + offset[i]);
}

extern "C" cudaError_t cuda_norm(cudaStream_t s, cuda_view y, const float *x, const float *factor,
                                 const float *offset, float plus_one, double eps, int64_t tokens,
                                 int64_t dim)
{
    return with_act(y.dtype, [&](auto *to) {
        norm<<<(unsigned)tokens, row_threads(dim), row_bytes(dim, 1), s>>>(
            (decltype(to))y.data, x, factor, offset, plus_one, eps, dim);
        return cudaGetLastError();
    });
}

/* With G = dy (plus_one + factor): dx += rstd (G - mean G - x̂ mean(G x̂)). */
template <typename D>
__global__ void norm_bwd_acc(float *dx, const D *dy, const float *x, const float *factor,
                             float plus_one, double eps, int64_t n)
{
    extern __shared__ float shared[];
    __shared__ float room[33];
    const int64_t first = (int64_t)blockIdx.x * n;
    const row_of<float> row(x + first, shared, n);
    const row_of<D> dy_row(dy + first, shared + n, n);
    float mean, rstd, sum = 0, along = 0;
    moments(row, n, eps, room, &mean, &rstd);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float g = dy_row[i] * (plus_one + factor[i]);
        sum += g;
        along += g * ((row[i] - mean) * rstd);
    }
    sum = block_sum(sum, room) / (float)n;
    along = block_sum(along, room) / (float)n;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float g = dy_row[i] * (plus_one + factor[i]);
        dx[first + i] += rstd * (g - sum - (row[i] - mean) * rstd * along);
    }
}

extern "C" cudaError_t cuda_norm_bwd_acc(cudaStream_t s, float *dx, cuda_view dy, const float *x,
                                         const float *factor, float plus_one, double eps,
                                         int64_t tokens, int64_t dim)
{
    return with_act(dy.dtype, [&](auto *from) {
        using D = std::remove_pointer_t<decltype(from)>;
        const size_t bytes = row_bytes(dim, 2);
        const cudaError_t error = allow_rows(norm_bwd_acc<D>, bytes);
        if (error != cudaSuccess)
            return error;
        norm_bwd_acc<<<(unsigned)tokens, row_threads(dim), bytes, s>>>(dx, (const D *)dy.data, x,
                                                                       factor, plus_one, eps, dim);
        return cudaGetLastError();
    });
}

template <typename X>
__device__ inline float inverse_rms(const row_of<X> &x, int64_t n, double eps, float *room)
{
    float squares = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        squares += x[i] * x[i];
    return (float)(1 / sqrt((double)block_sum(squares, room) / (double)n + eps));
}

template <typename Y, typename X>
__global__ void rms_rope(Y *y, const X *x, const float *weight, const float *cosines,
                         const float *sines, double eps, int64_t n, int64_t head_dim)
{
    extern __shared__ float shared[];
    __shared__ float room[33];
    const int64_t token = blockIdx.x, first = token * n, half = head_dim / 2;
    const row_of<X> row(x + first, shared, n);
    const float r = inverse_rms(row, n, eps, room);

    if (!cosines) {
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            put(y + first + i, row[i] * r * weight[i]);
        return;
    }
    for (int64_t pair = threadIdx.x; pair < n / 2; pair += blockDim.x) {
        const float c = cosines[token * half + pair % half], d = sines[token * half + pair % half];
        const float a = row[2 * pair] * r * weight[2 * pair],
                    b = row[2 * pair + 1] * r * weight[2 * pair + 1];
        put(y + first + 2 * pair, a * c - b * d);
        put(y + first + 2 * pair + 1, a * d + b * c);
    }
}

extern "C" cudaError_t cuda_rms_rope(cudaStream_t s, cuda_view y, cuda_view x, const float *weight,
                                     const float *cosines, const float *sines, double eps,
                                     int64_t tokens, int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    return with_act(y.dtype, [&](auto *to) {
        return with_act(x.dtype, [&](auto *from) {
            rms_rope<<<(unsigned)tokens, row_threads(n), row_bytes(n, 1), s>>>(
                (decltype(to))y.data, (decltype(from))x.data, weight, cosines, sines, eps, n,
                head_dim);
            return cudaGetLastError();
        });
    });
}

/* The rotation is undone by -angle; with G = that ⊙ weight: dx = r G - x r³ mean(G x). */
template <typename D, typename X>
__device__ inline float turned_back(const row_of<D> &dy, const float *weight, const float *cosines,
                                    const float *sines, int64_t i, int64_t half)
{
    if (!cosines)
        return dy[i] * weight[i];
    const int64_t pair = i / 2;
    const float c = cosines[pair % half], d = sines[pair % half];
    const float a = dy[2 * pair], b = dy[2 * pair + 1];
    return (i % 2 ? b * c - a * d : a * c + b * d) * weight[i];
}

template <typename Y, typename D, typename X>
__global__ void rms_rope_bwd(Y *dx, const D *dy, const X *x, const float *weight,
                             const float *cosines, const float *sines, double eps, int64_t n,
                             int64_t head_dim)
{
    extern __shared__ float shared[];
    __shared__ float room[33];
    const int64_t token = blockIdx.x, first = token * n, half = head_dim / 2;
    const row_of<X> row(x + first, shared, n);
    const row_of<D> dy_row(dy + first, shared + n, n);
    const float r = inverse_rms(row, n, eps, room);
    float along = 0;

    if (cosines) {
        cosines += token * half;
        sines += token * half;
    }
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        along += turned_back<D, X>(dy_row, weight, cosines, sines, i, half) * row[i];
    const float shrink = r * r * r * (block_sum(along, room) / (float)n);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        put(dx + first + i,
            r * turned_back<D, X>(dy_row, weight, cosines, sines, i, half) - row[i] * shrink);
}

extern "C" cudaError_t cuda_rms_rope_bwd(cudaStream_t s, cuda_view dx, cuda_view dy, cuda_view x,
                                         const float *weight, const float *cosines,
                                         const float *sines, double eps, int64_t tokens,
                                         int64_t heads, int64_t head_dim)
{
    const int64_t n = heads * head_dim;
    const size_t bytes = row_bytes(n, 2);
    return with_act(dx.dtype, [&](auto *to) {
        return with_act(dy.dtype, [&](auto *from) {
            return with_act(x.dtype, [&](auto *given) {
                using Y = std::remove_pointer_t<decltype(to)>;
                using D = std::remove_pointer_t<decltype(from)>;
                using X = std::remove_pointer_t<decltype(given)>;
                const cudaError_t error = allow_rows(rms_rope_bwd<Y, D, X>, bytes);
                if (error != cudaSuccess)
                    return error;
                rms_rope_bwd<<<(unsigned)tokens, row_threads(n), bytes, s>>>(
                    (Y *)dx.data, (const D *)dy.data, (const X *)x.data, weight, cosines, sines,
                    eps, n, head_dim);
                return cudaGetLastError();
            });
        });
    });
}

/* The VAE's norm: a warp per cell. */
template <typename X>
__global__ void rms_channel(X *y, const X *x, const float *gamma, bool silu, int64_t rows,
                            int64_t n)
{
    const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    float squares = 0;

    if (row >= rows)
        return;
    x += row * n;
    y += row * n;
    for (int64_t i = lane; i < n; i += WARP)
        squares += widen(x[i]) * widen(x[i]);
    for (int step = WARP / 2; step; step /= 2)
        squares += __shfl_xor_sync(0xffffffffu, squares, step);
    const float factor = sqrtf((float)n) / fmaxf(sqrtf(squares), 1e-12f);
    for (int64_t i = lane; i < n; i += WARP) {
        const float z = widen(x[i]) * factor * gamma[i];
        put(y + i, silu ? z / (1.0f + expf(-z)) : z);
    }
}

extern "C" cudaError_t cuda_rms_channel(cudaStream_t s, cuda_view y, cuda_view x,
                                        const float *gamma, bool silu, int64_t rows,
                                        int64_t channels)
{
    if (y.dtype != x.dtype)
        return cudaErrorInvalidValue;
    return with_act(y.dtype, [&](auto *to) {
        rms_channel<<<(unsigned)((rows * WARP + THREADS - 1) / THREADS), THREADS, 0, s>>>(
            (decltype(to))y.data, (decltype(to))x.data, gamma, silu, rows, channels);
        return cudaGetLastError();
    });
}
