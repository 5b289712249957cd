/* SPDX-License-Identifier: MIT
 *
 * Kernels that only move elements, converting on the way.
 */
#include "backend/cuda/cuda_common.cuh"

#include <type_traits>

/* Place of latent cell (c, t, y, x) in the token matrix. */
__device__ inline int64_t token_element(const cuda_patches &p, int64_t cell)
{
    const int64_t x = cell % p.width, y = cell / p.width % p.height,
                  t = cell / (p.width * p.height) % p.frames;
    const int64_t c = cell / (p.width * p.height * p.frames), volume = p.pt * p.ph * p.pw;
    const int64_t token = (t / p.pt * (p.height / p.ph) + y / p.ph) * (p.width / p.pw) + x / p.pw;
    const int64_t inside = (t % p.pt * p.ph + y % p.ph) * p.pw + x % p.pw;
    return token * p.channels * volume +
           (p.channel_last ? inside * p.channels + c : c * volume + inside);
}

template <typename Y, typename X>
__global__ void move_patches(Y *y, const X *x, cuda_patches p, int64_t count)
{
    GRID_STRIDE(cell, count)
    {
        const int64_t at = token_element(p, cell);
        put(y + (p.to_tokens ? at : cell), widen(x[p.to_tokens ? cell : at]));
    }
}

extern "C" cudaError_t cuda_move_patches(cudaStream_t s, cuda_view y, cuda_view x, cuda_patches p)
{
    const int64_t count = p.channels * p.frames * p.height * p.width;
    return with_act(y.dtype, [&](auto *to) {
        return with_act(x.dtype, [&](auto *from) {
            move_patches<<<grid_for(count), THREADS, 0, s>>>((decltype(to))y.data,
                                                             (decltype(from))x.data, p, count);
            return cudaGetLastError();
        });
    });
}

/* Calls f(pointer, n) with elements of the largest size in which rows of `channels` can be moved: n
 * of them are a row. */
template <typename F>
static cudaError_t with_pieces(cuda_view y, cuda_view x, int64_t channels, F f)
{
    const int64_t bytes = channels * (x.dtype == VMT_BF16 ? 2 : 4);

    if (y.dtype != x.dtype)
        return cudaErrorInvalidValue;
    if (((uintptr_t)x.data | (uintptr_t)y.data) % 16 == 0 && bytes % 16 == 0)
        return f((uint4 *)nullptr, bytes / 16);
    if (x.dtype == VMT_BF16)
        return f((uint16_t *)nullptr, channels);
    return f((uint32_t *)nullptr, channels);
}

/* One block per row of y. */
template <typename T> __global__ void upsample2(T *y, const T *x, int width, int channels)
{
    const int64_t row = blockIdx.x;
    const int64_t count = (int64_t)2 * width * channels;

    y += row * count;
    x += row / 2 * width * channels; /* frames have an even number of rows in y */
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const int col = (int)(i / channels), c = (int)(i - (int64_t)col * channels);
        y[i] = x[col / 2 * (int64_t)channels + c];
    }
}

extern "C" cudaError_t cuda_upsample2(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames,
                                      int64_t height, int64_t width, int64_t channels)
{
    return with_pieces(y, x, channels, [&](auto *t, int64_t n) {
        upsample2<<<(unsigned)(frames * 2 * height), THREADS, 0, s>>>(
            (decltype(t))y.data, (decltype(t))x.data, (int)width, (int)n);
        return cudaGetLastError();
    });
}

/* cells of a frame; count: elements of a frame of y; blockIdx.y: the frame. */
template <typename T>
__global__ void split_frames(T *y, const T *x, int64_t channels, int64_t count)
{
    const int64_t frame = blockIdx.y;

    y += frame * count;
    x += frame / 2 * 2 * count + frame % 2 * channels;
    GRID_STRIDE(i, count)
    y[i] = x[i + i / channels * channels];
}

extern "C" cudaError_t cuda_split_frames(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames,
                                         int64_t cells, int64_t channels)
{
    return with_pieces(y, x, channels, [&](auto *t, int64_t n) {
        split_frames<<<dim3(grid_for(cells * n), (unsigned)frames), THREADS, 0, s>>>(
            (decltype(t))y.data, (decltype(t))x.data, n, cells * n);
        return cudaGetLastError();
    });
}

template <typename T>
__global__ void fit_channels(T *y, const T *x, int64_t y_channels, int64_t x_channels,
                             int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t row = i / y_channels, c = i - row * y_channels;
        y[i] = c < x_channels ? x[row * x_channels + c] : T{};
    }
}

extern "C" cudaError_t cuda_fit_channels(cudaStream_t s, cuda_view y, cuda_view x, int64_t rows,
                                         int64_t y_channels, int64_t x_channels)
{
    const int64_t count = rows * y_channels;
    const auto run = [&](auto *t) {
        fit_channels<<<grid_for(count), THREADS, 0, s>>>((decltype(t))y.data, (decltype(t))x.data,
                                                         y_channels, x_channels, count);
        return cudaGetLastError();
    };
    if (y.dtype != x.dtype)
        return cudaErrorInvalidValue;
    return x.dtype == VMT_BF16 ? run((uint16_t *)nullptr) : run((uint32_t *)nullptr);
}

template <typename T>
__global__ void unroll(T *y, const T *x, cuda_window w, int64_t channels, int64_t first,
                       int64_t count)
{
    const int64_t taps = w.kt * w.kh * w.kw;
    GRID_STRIDE(i, count)
    {
        const int64_t c = i % channels, tap = i / channels % taps,
                      row = first + i / (channels * taps);
        const int64_t t = row / (w.out_h * w.out_w) * w.stride_t + tap / (w.kh * w.kw);
        const int64_t h = row / w.out_w % w.out_h * w.stride_h + tap / w.kw % w.kh - w.pad_top;
        const int64_t v = row % w.out_w * w.stride_w + tap % w.kw - w.pad_left;
        const bool inside = h >= 0 && h < w.height && v >= 0 && v < w.width;
        y[i] = inside ? x[((t * w.height + h) * w.width + v) * channels + c] : T{};
    }
}

template <typename T>
static cudaError_t run_unroll(cudaStream_t s, cuda_view y, cuda_view x, const cuda_window &w,
                              int64_t channels, int64_t first, int64_t rows)
{
    const int64_t count = rows * w.kt * w.kh * w.kw * channels;
    unroll<<<grid_for(count), THREADS, 0, s>>>((T *)y.data, (const T *)x.data, w, channels, first,
                                               count);
    return cudaGetLastError();
}

extern "C" cudaError_t cuda_unroll(cudaStream_t s, cuda_view y, cuda_view x, cuda_window w,
                                   int64_t first, int64_t rows)
{
    return with_pieces(y, x, w.channels, [&](auto *t, int64_t n) {
        return run_unroll<std::remove_pointer_t<decltype(t)>>(s, y, x, w, n, first, rows);
    });
}
