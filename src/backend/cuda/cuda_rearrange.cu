/* SPDX-License-Identifier: MIT
 *
 * Kernels that only move elements, converting on the way.
 */
#include "backend/cuda/cuda_common.cuh"

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

template <typename T>
__global__ void upsample2(T *y, const T *x, int64_t height, int64_t width, int64_t channels,
                          int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t c = i % channels, col = i / channels % (2 * width);
        const int64_t row = i / (channels * 2 * width) % (2 * height),
                      frame = i / (channels * 4 * width * height);
        y[i] = x[((frame * height + row / 2) * width + col / 2) * channels + c];
    }
}

extern "C" cudaError_t cuda_upsample2(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames,
                                      int64_t height, int64_t width, int64_t channels)
{
    const int64_t count = frames * 4 * height * width * channels;
    return with_act(y.dtype, [&](auto *t) {
        upsample2<<<grid_for(count), THREADS, 0, s>>>((decltype(t))y.data, (decltype(t))x.data,
                                                      height, width, channels, count);
        return cudaGetLastError();
    });
}

/* frames: of y; cells of a frame. */
template <typename T>
__global__ void split_frames(T *y, const T *x, int64_t cells, int64_t channels, int64_t count)
{
    GRID_STRIDE(i, count)
    {
        const int64_t c = i % channels, cell = i / channels % cells, frame = i / (channels * cells);
        y[i] = x[((frame / 2 * cells + cell) * 2 + frame % 2) * channels + c];
    }
}

extern "C" cudaError_t cuda_split_frames(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames,
                                         int64_t cells, int64_t channels)
{
    const int64_t count = frames * cells * channels;
    return with_act(y.dtype, [&](auto *t) {
        split_frames<<<grid_for(count), THREADS, 0, s>>>((decltype(t))y.data, (decltype(t))x.data,
                                                         cells, channels, count);
        return cudaGetLastError();
    });
}

/* Elements of `size` bytes are moved as they are. */
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
    const int64_t bytes = w.channels * (x.dtype == VMT_BF16 ? 2 : 4);
    const bool aligned = ((uintptr_t)x.data | (uintptr_t)y.data) % 16 == 0;

    if (y.dtype != x.dtype)
        return cudaErrorInvalidValue;
    if (aligned && bytes % 16 == 0)
        return run_unroll<uint4>(s, y, x, w, bytes / 16, first, rows);
    if (x.dtype == VMT_BF16)
        return run_unroll<uint16_t>(s, y, x, w, w.channels, first, rows);
    return run_unroll<uint32_t>(s, y, x, w, w.channels, first, rows);
}
