/* SPDX-License-Identifier: MIT
 *
 * Attention and convolution by cuDNN's fused kernels, as functions of C.  cuDNN is loaded
 * (libcudnn.so.9), not linked: it is not shipped. BF16 operands, F32 sums, each in a fixed order.
 */
#ifndef VMT_CUDA_CUDNN_H
#define VMT_CUDA_CUDNN_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_cudnn cuda_cudnn;           /* the library on one stream, and its plans */
typedef struct cuda_cudnn_plan cuda_cudnn_plan; /* one shape; belongs to its cuda_cudnn */

/* q, o: [batch, nq, heads, d]; k, v: [batch, nk, heads, d], tokens `row` elements apart (of more
 * heads than these); lse: [heads, batch, nq] F32, or [batch, heads, nq]. */
typedef struct cuda_cudnn_shape {
    int64_t batch, nq, nk, heads, d, row;
    double scale;
    bool backward;
    bool has_lse; /* forward: writes it; backward: always true */
    bool lse_by_batch;
    bool any_order; /* backward: sums may be added in an order of chance */
} cuda_cudnn_shape;

/* Convolution.  Axes of space outermost first, those in front of the last `axes` unused; channels
 * last: x: [batch, x.., in], filter: [out, filter.., in], y: [batch, y.., out].  No bias: the
 * kernels that add one are compiled when they are asked for, half a second for each shape. */
typedef struct cuda_cudnn_conv {
    int64_t axes; /* 2 or 3 */
    int64_t batch, in, out;
    int64_t x[3], filter[3], y[3], stride[3], before[3], after[3]; /* before, after: zeros */
} cuda_cudnn_conv;

enum {
    CUDA_CUDNN_Q = 1,
    CUDA_CUDNN_K,
    CUDA_CUDNN_V,
    CUDA_CUDNN_O,
    CUDA_CUDNN_LSE,
    CUDA_CUDNN_DO,
    CUDA_CUDNN_DQ,
    CUDA_CUDNN_DK,
    CUDA_CUDNN_DV,
    CUDA_CUDNN_X,
    CUDA_CUDNN_FILTER,
    CUDA_CUDNN_Y,
    CUDA_CUDNN_POINTERS
};

/* NULL when the library is not there or does not start; the reason goes into `why`. */
cuda_cudnn *cuda_cudnn_open(cudaStream_t stream, char *why, size_t size);
void cuda_cudnn_close(cuda_cudnn *library);
/* Version as 91400; 0 without a library. */
size_t cuda_cudnn_version(const cuda_cudnn *library);

/* The plan of a shape, made at its first use; NULL when cuDNN has none (the answer is kept, too).
 * *made: it was new. */
cuda_cudnn_plan *cuda_cudnn_find(cuda_cudnn *library, const cuda_cudnn_shape *shape, bool *made);
cuda_cudnn_plan *cuda_cudnn_find_conv(cuda_cudnn *library, const cuda_cudnn_conv *conv, bool *made);
size_t cuda_cudnn_workspace(const cuda_cudnn_plan *plan);
/* cuDNN's name of the kernel family it chose. */
const char *cuda_cudnn_engine(const cuda_cudnn_plan *plan);
/* data: by the names above; those a plan does not use are not read.  False: it did not run; `why`
 * says more. */
bool cuda_cudnn_run(cuda_cudnn *library, cuda_cudnn_plan *plan,
                    void *const data[CUDA_CUDNN_POINTERS], void *workspace, char *why, size_t size);

#ifdef __cplusplus
}
#endif

#endif
