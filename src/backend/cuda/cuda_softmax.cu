/* SPDX-License-Identifier: MIT
 *
 * Rows of attention between its products, see cuda_attention.c: one block of threads per row.
 */
#include "backend/cuda/cuda_common.cuh"

template <typename P>
__global__ void softmax(P *p, const float *z, float *lse, int64_t lse_stride, const float *bias,
                        int64_t bias_stride, int64_t bias_origin, float scale, int64_t rows,
                        int64_t nk)
{
    __shared__ float room[33];
    const int64_t i = blockIdx.x, h = blockIdx.y, first = (h * rows + i) * nk;
    const float *shift = bias ? bias + h * bias_stride + bias_origin - i : nullptr;
    float most = -CUDART_INF_F, sum = 0;

    z += first;
    p += first;
    for (int64_t j = threadIdx.x; j < nk; j += blockDim.x)
        most = fmaxf(most, scale * z[j] + (shift ? shift[j] : 0.0f));
    most = block_max(most, room);
    for (int64_t j = threadIdx.x; j < nk; j += blockDim.x)
        sum += expf(scale * z[j] + (shift ? shift[j] : 0.0f) - most);
    sum = block_sum(sum, room);
    const float factor = 1.0f / sum;
    for (int64_t j = threadIdx.x; j < nk; j += blockDim.x)
        put(p + j, expf(scale * z[j] + (shift ? shift[j] : 0.0f) - most) * factor);
    if (lse && threadIdx.x == 0)
        lse[h * lse_stride + i] = most + logf(sum);
}

extern "C" cudaError_t cuda_softmax(cudaStream_t s, cuda_view p, const float *z, float *lse,
                                    int64_t lse_stride, const float *bias, int64_t bias_stride,
                                    int64_t bias_origin, float scale, int64_t heads, int64_t rows,
                                    int64_t nk)
{
    return with_act(p.dtype, [&](auto *to) {
        softmax<<<dim3((unsigned)rows, (unsigned)heads), THREADS, 0, s>>>(
            (decltype(to))p.data, z, lse, lse_stride, bias, bias_stride, bias_origin, scale, rows,
            nk);
        return cudaGetLastError();
    });
}

template <typename P>
__global__ void softmax_bwd(P *p, P *ds, const float *z, const float *dp, const float *lse,
                            const float *delta, int64_t row_stride, float scale, int64_t rows,
                            int64_t nk)
{
    const int64_t i = blockIdx.x, h = blockIdx.y, first = (h * rows + i) * nk;
    const float log_sum = lse[h * row_stride + i], own = delta[h * row_stride + i];

    for (int64_t j = threadIdx.x; j < nk; j += blockDim.x) {
        const float share = expf(scale * z[first + j] - log_sum), change = dp[first + j] - own;
        put(p + first + j, share);
        put(ds + first + j, scale * share * change);
    }
}

extern "C" cudaError_t cuda_softmax_bwd(cudaStream_t s, cuda_view p, cuda_view ds, const float *z,
                                        const float *dp, const float *lse, const float *delta,
                                        int64_t row_stride, float scale, int64_t heads,
                                        int64_t rows, int64_t nk)
{
    return with_act(p.dtype, [&](auto *to) {
        softmax_bwd<<<dim3((unsigned)rows, (unsigned)heads), THREADS, 0, s>>>(
            (decltype(to))p.data, (decltype(to))ds.data, z, dp, lse, delta, row_stride, scale, rows,
            nk);
        return cudaGetLastError();
    });
}

/* A warp per row and head. */
template <typename X>
__global__ void delta_kernel(float *delta, const X *dout, const X *o, int64_t rows, int64_t heads,
                             int64_t d)
{
    const int64_t warp = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    float sum = 0;

    if (warp >= rows * heads)
        return;
    for (int64_t c = threadIdx.x % WARP; c < d; c += WARP)
        sum += widen(dout[warp * d + c]) * widen(o[warp * d + c]);
    for (int step = WARP / 2; step; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % WARP == 0)
        delta[warp % heads * rows + warp / heads] = sum;
}

extern "C" cudaError_t cuda_delta(cudaStream_t s, float *delta, cuda_view dout, cuda_view o,
                                  int64_t rows, int64_t heads, int64_t head_dim)
{
    return with_act(o.dtype, [&](auto *t) {
        delta_kernel<<<(unsigned)((rows * heads * WARP + THREADS - 1) / THREADS), THREADS, 0, s>>>(
            delta, (decltype(t))dout.data, (decltype(t))o.data, rows, heads, head_dim);
        return cudaGetLastError();
    });
}
