/* SPDX-License-Identifier: MIT
 *
 * Rows of a tensor in registers: the threads of one row hold it by fours of neighbours, so that it
 * is read from memory once; short rows share a block of threads.  Sums run per thread in F32, over
 * the threads in F32 too.
 */
#ifndef VMT_CUDA_ROWS_CUH
#define VMT_CUDA_ROWS_CUH

#include "backend/cuda/cuda_common.cuh"

enum { MOST_FOURS = 8, MOST_THREADS = 512, SHARED_ROWS = 8 };

/* The row of a thread.  blockDim.x threads a row, blockDim.y rows a block: more than one only where
 * a row has one warp. */
struct row_place {
    int64_t row, n;
    bool inside; /* the last block may have more rows than there are */
    float *room; /* of block_sum */
    __device__ row_place(int64_t rows, int64_t length, float *shared)
        : row((int64_t)blockIdx.x * blockDim.y + threadIdx.y), n(length), room(shared)
    {
        inside = row < rows;
        if (!inside)
            row = rows - 1;
    }
    __device__ float sum(float x) const
    {
        return blockDim.x == WARP ? warp_sum(x) : block_sum(x, room);
    }
};

/* The elements of a row that one thread holds: four j of it start at 4 (threadIdx.x + j
 * blockDim.x).  Beyond the row's end they are zero. */
template <int FOURS> struct row_part {
    float v[4 * FOURS];

    static __device__ int first(int j)
    {
        return 4 * ((int)threadIdx.x + j * (int)blockDim.x);
    }
    template <typename X> __device__ void load(const X *x, int64_t n, bool by_fours)
    {
#pragma unroll
        for (int j = 0; j < FOURS; j++) {
            const int at = first(j);
            float4 four = make_float4(0, 0, 0, 0);
            if (by_fours && at < n) {
                four = widen4(x + at);
            } else if (at < n) {
                four.x = widen(x[at]);
                four.y = at + 1 < n ? widen(x[at + 1]) : 0.0f;
                four.z = at + 2 < n ? widen(x[at + 2]) : 0.0f;
                four.w = at + 3 < n ? widen(x[at + 3]) : 0.0f;
            }
            v[4 * j] = four.x, v[4 * j + 1] = four.y;
            v[4 * j + 2] = four.z, v[4 * j + 3] = four.w;
        }
    }
    template <typename Y> __device__ void store(Y *y, int64_t n, bool by_fours) const
    {
#pragma unroll
        for (int j = 0; j < FOURS; j++) {
            const int at = first(j);
            if (by_fours && at < n)
                put4(y + at, make_float4(v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]));
            else
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (at + e < n)
                        put(y + at + e, v[4 * j + e]);
        }
    }
    /* The same from and to a view of either dtype: all threads take the same way. */
    __device__ void load(cuda_view x, const row_place &place, bool by_fours)
    {
        const int64_t start = place.row * place.n;
        if (x.dtype == VMT_BF16)
            load((const __nv_bfloat16 *)x.data + start, place.n, by_fours);
        else
            load((const float *)x.data + start, place.n, by_fours);
    }
    __device__ void store(cuda_view y, const row_place &place, bool by_fours) const
    {
        const int64_t start = place.row * place.n;
        if (!place.inside)
            return;
        if (y.dtype == VMT_BF16)
            store((__nv_bfloat16 *)y.data + start, place.n, by_fours);
        else
            store((float *)y.data + start, place.n, by_fours);
    }
};

/* How a kernel over rows is launched. */
struct row_launch {
    dim3 blocks, threads;
    int fours; /* per thread */
};

static row_launch launch_of(int64_t rows, int64_t n)
{
    const int64_t fours = (n + 3) / 4;
    unsigned threads = WARP;
    while (threads < MOST_THREADS && threads * (threads < 4 * WARP ? 2 : 5) < fours)
        threads *= 2;
    const unsigned together = threads == WARP ? SHARED_ROWS : 1;
    return (row_launch){dim3((unsigned)((rows + together - 1) / together)), dim3(threads, together),
                        (int)((fours + threads - 1) / threads)};
}

/* f(constant): elements per thread as a template's argument. */
template <typename F> static cudaError_t with_fours(int fours, F f)
{
    switch (fours) {
    case 1:
        return f(std::integral_constant<int, 1>());
    case 2:
        return f(std::integral_constant<int, 2>());
    case 3:
        return f(std::integral_constant<int, 3>());
    case 4:
        return f(std::integral_constant<int, 4>());
    case 5:
        return f(std::integral_constant<int, 5>());
    default:
        return fours <= MOST_FOURS ? f(std::integral_constant<int, MOST_FOURS>())
                                   : cudaErrorInvalidValue;
    }
}

/* Of a kernel over rows: the row of this thread. */
#define ROW_PLACE                                                                                  \
    __shared__ float room[33];                                                                     \
    const row_place place(rows, length, room)

static cuda_view view_of(const float *x)
{
    return (cuda_view){(void *)x, VMT_F32};
}

#endif
