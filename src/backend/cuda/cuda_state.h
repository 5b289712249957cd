/* SPDX-License-Identifier: MIT
 *
 * Private state of backend "cuda", and what its host files share.  All work of a context goes to
 * one stream in order, so that scratch is free for the next op as soon as an op has been enqueued;
 * only matrices come by a second stream and spilled tensors go by a third; the first waits for
 * both.
 */
#ifndef VMT_CUDA_STATE_H
#define VMT_CUDA_STATE_H

#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"
#include "tensor/tensor.h"

#include <cublasLt.h>

/* What rides on a product: gelu; gelu with the product itself kept in `aux`; times gelu'(aux). */
enum cuda_epilogue {
    CUDA_EPILOGUE_NONE = 0,
    CUDA_EPILOGUE_GELU,
    CUDA_EPILOGUE_GELU_KEEP,
    CUDA_EPILOGUE_GELU_BWD
};

/* c (+)= epilogue(a b + bias), row-major.   a: [m, k], b: [k, n]; rows a_row, b_row, c_row elements
 * apart; `a_turned`, `b_turned`: stored transposed ([k, m], [n, k]).  in: dtype of a and b, U8 for
 * e4m3; out: of c. */
typedef struct cuda_matmul {
    int64_t m, n, k, a_row, b_row, c_row;
    int64_t batch, a_batch, b_batch, c_batch; /* 0: one product */
    enum vmt_dtype in, out;
    enum cuda_epilogue epilogue;
    bool a_turned, b_turned, has_bias, add;
    bool scaled; /* e4m3 operands with a scale for each row of a and column of b */
} cuda_matmul;

/* Algorithm of one product, chosen at its first use. */
typedef struct cuda_plan {
    cuda_matmul product;
    unsigned alignment; /* of the pointers, least of all */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
} cuda_plan;

typedef struct cuda_buffer {
    void *memory;
    size_t bytes;
} cuda_buffer;

/* Pinned memory of the host that bytes go through; event: the device is done with it. */
typedef struct cuda_stage {
    void *memory;
    size_t bytes;
    cudaEvent_t event;
    const void *host; /* where a download that has begun is to end; else NULL */
    void *raw;        /* device: an upload's bytes before they are converted; NULL until needed */
} cuda_stage;

/* A released weight's memory; event: the device is done with the weight. */
typedef struct cuda_block {
    void *memory; /* NULL: none */
    size_t bytes;
    cudaEvent_t event;
} cuda_block;

enum { CUDA_BLOCKS = 32 }; /* two layers of a text encoder, a block of the DiT twice, and more */

enum { CUDA_STAGES = VMT_DOWNLOADS };

typedef struct cuda_state {
    vmt_ops ops;
    int device;
    size_t context_bytes; /* of the device, that opening it took */
    /* of the device: by all programs when it was open; most that was seen taken since, by this
     * one if others take no more than before; 0 where context_bytes is not known */
    size_t used_at_opening, taken_most;
    cudaStream_t stream;
    cudaStream_t weights; /* brings weights, beside what computes */
    cudaEvent_t brought;  /* the last one is there */
    cuda_block blocks[CUDA_BLOCKS];
    cudaStream_t spills; /* copies to the host and back beside both; NULL until the first */
    cudaEvent_t asked, spilled[VMT_SPILLS];
    cublasLtHandle_t blas;
    cuda_buffer workspace; /* of cuBLASLt */
    cuda_buffer scratch;   /* of the op at hand; grows to the largest need */
    cuda_buffer tiles;     /* of local attention, which calls ops that need the scratch */
    cuda_buffer widened;   /* the matrix in few bits that is multiplied with */
    cuda_plan *plans;
    size_t plan_count, plan_capacity;
    cuda_cudnn *cudnn; /* NULL until an op asks for it, and where it is not there */
    bool cudnn_asked;
    int *bad; /* device: set by cuda_find_bad */
    cuda_stage uploads[CUDA_STAGES], downloads[CUDA_STAGES];
    int next_upload, next_download;
    bool no_scales; /* cuBLASLt has refused scaled operands */
} cuda_state;

static inline cuda_state *cuda_of(vmt_ctx *ctx)
{
    return ctx->backend;
}

/* VMT_E_MEMORY, VMT_E_INTERNAL, … with the op and CUDA's own words. */
enum vmt_status cuda_fail(vmt_ctx *ctx, const char *op, cudaError_t error);
enum vmt_status cuda_check(vmt_ctx *ctx, const char *op, cudaError_t error);

/* ---- cuda_memory.c */
void *cuda_alloc(vmt_ctx *ctx, size_t bytes);
void cuda_release(vmt_ctx *ctx, void *memory);
size_t cuda_free_bytes(vmt_ctx *ctx);
size_t cuda_fixed_bytes(vmt_ctx *ctx, size_t *later);
size_t cuda_taken_bytes(vmt_ctx *ctx);
void cuda_trim(vmt_ctx *ctx);
/* Scratch of the device for one op, at a 256-byte boundary. */
enum vmt_status cuda_scratch(vmt_ctx *ctx, void **memory, size_t bytes);
/* The same beside it. */
enum vmt_status cuda_tiles(vmt_ctx *ctx, void **memory, size_t bytes);
enum vmt_status cuda_widened(vmt_ctx *ctx, void **memory, size_t bytes);
vmt_op_upload cuda_upload;
vmt_op_download cuda_download;
vmt_op_copy cuda_copy;
vmt_op_zero cuda_zero;
vmt_op_all_finite cuda_all_finite;
vmt_op_mark_bad cuda_mark_bad;
enum vmt_status cuda_wait(vmt_ctx *ctx);

/* ---- cuda_upload.c */

/* Returns when `host` may change; the device has the elements, in to.dtype, when the stream has
 * come to them. */
enum vmt_status cuda_send(vmt_ctx *ctx, const char *op, cudaStream_t stream, cuda_view to,
                          const vmt_tensor *host);
vmt_op_download_begin cuda_download_begin;
vmt_op_download_end cuda_download_end;
void cuda_stages_close(cuda_state *state);

/* ---- cuda_blocks.c: memory of weights.  A released block stays for the next weight of its size,
 * whose upload then need not wait for anything else; whoever asks for other memory frees them. */
enum vmt_status cuda_block_take(vmt_ctx *ctx, void **memory, size_t bytes);
void cuda_block_give(vmt_ctx *ctx, void *memory, size_t bytes);
void cuda_blocks_free(cuda_state *state);
void cuda_blocks_close(cuda_state *state);

/* ---- cuda_spill.c */
void *cuda_spill_alloc(vmt_ctx *ctx, size_t bytes);
void cuda_spill_release(vmt_ctx *ctx, void *memory);
vmt_op_spill_out cuda_spill_out;
vmt_op_spill_back cuda_spill_back;
enum vmt_status cuda_spill_wait(vmt_ctx *ctx, int ticket);
void cuda_spills_close(cuda_state *state);

/* Bytes up to the next boundary of 256. */
static inline size_t cuda_padded(size_t bytes)
{
    return (bytes + 255) & ~(size_t)255;
}

/* What the device gives for an allocation: whole pages of 2 MiB, which small ones share. */
static inline size_t cuda_own_pages(size_t bytes)
{
    const size_t page = (size_t)2 << 20;
    return bytes < page / 2 ? bytes : (bytes + page - 1) / page * page;
}

static inline cuda_view cuda_view_of(const vmt_tensor *t)
{
    return (cuda_view){t->data, t->dtype};
}

/* ---- cuda_matmul.c */

/* aux: [m, n], of the dtype and row length of c; NULL unless the epilogue has one. */
enum vmt_status cuda_matmul_run(vmt_ctx *ctx, const cuda_matmul *product, void *c, const void *a,
                                const void *b, const void *bias, void *aux);
/* The same with scaled operands; *done false where cuBLASLt cannot. */
enum vmt_status cuda_matmul_fp8(vmt_ctx *ctx, const cuda_matmul *product, bool *done, void *c,
                                const void *a, const void *b, const void *bias,
                                const float *a_scales, const float *b_scales);
void cuda_plans_free(cuda_state *state);

/* ---- cuda_library.c */

/* cuDNN, loaded at the first call; NULL where it is not there. */
cuda_cudnn *cuda_cudnn_of(vmt_ctx *ctx);
enum vmt_status cuda_cudnn_execute(vmt_ctx *ctx, const char *op, cuda_cudnn_plan *plan,
                                   void *const data[CUDA_CUDNN_POINTERS], void *workspace);
void cuda_library_close(cuda_state *state);

/* ---- cuda_linear.c */

/* What weight_prepare made, in one block of device memory.  A filter has the order [out, taps, in];
 * in BF16 its channels are filled up to `in`, `out` with zeros, the bias alike, so that each row is
 * a multiple of 16 bytes. */
typedef struct cuda_packed {
    void *block;
    int64_t in, out;     /* of a filter: multiples of 8 in BF16 */
    void *matrix;        /* ctx->act, or as in the file where that has few bits */
    float *bias;         /* NULL: none */
    uint16_t *bias_bf16; /* the same rounded, for products that write BF16; NULL when act is F32 */
    void *fp8;           /* the matrix in e4m3, a block of its own; NULL: not prepared */
    float *fp8_scales;   /* [out] */
    size_t fp8_bytes;
} cuda_packed;

vmt_op_weight_prepare cuda_weight_prepare;
size_t cuda_weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use);
void cuda_weight_release(vmt_ctx *ctx, vmt_weight *weight);
/* Scratch of a product of F32 with it where activations are BF16. */
size_t cuda_wide_bytes(vmt_ctx *ctx, const vmt_weight *weight);
/* VMT_E_INTERNAL naming the op when the weight was not prepared. */
enum vmt_status cuda_weight_view(vmt_ctx *ctx, const vmt_weight *weight, const char *op,
                                 const cuda_packed **view);
/* The matrix in ctx->act; one in few bits is widened, until the next call, for the stream that
 * computes.  cuda_quant.c */
enum vmt_status cuda_weight_matrix(vmt_ctx *ctx, const char *op, const vmt_weight *weight,
                                   const void **matrix);
/* The bias in the dtype that a product writing `out` wants. */
const void *cuda_bias_for(const cuda_packed *view, enum vmt_dtype out);
/* Products whose rows are no multiples of 16 bytes run on kernels that round to BF16 before they
 * add the bias. */
bool cuda_rounds_before_bias(const cuda_packed *view, enum vmt_dtype out, int64_t n, int64_t k);

/* ---- cuda_quant.c */
size_t cuda_quant_bytes(const vmt_tensor *w);
enum vmt_status cuda_quant_send(vmt_ctx *ctx, cudaStream_t stream, void *matrix,
                                const vmt_tensor *w);
size_t cuda_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight);

/* ---- cuda_fp8.c */

/* Bytes beside those of the matrix; 0: not wanted. */
size_t cuda_fp8_bytes(const vmt_weight *weight, unsigned use);
enum vmt_status cuda_fp8_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use);
vmt_op_linear_fp8 cuda_linear_fp8;

vmt_op_linear cuda_linear;
vmt_op_linear_bwd cuda_linear_bwd;
vmt_op_linear_bwd_acc cuda_linear_bwd_acc;
vmt_op_linear_gelu cuda_linear_gelu;
vmt_op_linear_bwd_gelu cuda_linear_bwd_gelu;

/* ---- cuda_conv.c */
vmt_op_conv3d cuda_conv3d;
size_t cuda_conv_bytes(vmt_ctx *ctx);

/* ---- cuda_context.c */

/* Bytes of the device that all processes take, by the driver's management library, which needs no
 * context; 0: not known. */
size_t cuda_used_bytes(int device);

/* ---- cuda_attention.c, cuda_attention_fused.c */
vmt_op_attention cuda_attention;
vmt_op_attention_bwd cuda_attention_bwd;

/* Scratch of those calls with gradients of the keys; by products alone. */
size_t cuda_attention_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                            bool backward);
size_t cuda_attention_products_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                                     bool backward);

/* By cuDNN; *done false where it has no kernel, or is not there: then by products. */
enum vmt_status cuda_attention_fused(vmt_ctx *ctx, bool *done, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     double scale);
enum vmt_status cuda_attention_fused_bwd(vmt_ctx *ctx, bool *done, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, double scale);

/* `count` attentions of their own, all of one shape, as one call of cuDNN: q, o: [count, nq, heads,
 * d]; k, v: [count, nk, heads, d]; lse: [count, heads, nq]. */
typedef struct cuda_attention_batch {
    int64_t count, nq, nk, heads, d;
    double scale;
    bool backward, has_lse;
} cuda_attention_batch;

/* False where cuDNN has no kernel; *workspace: scratch that it takes. */
bool cuda_attention_batch_find(vmt_ctx *ctx, const cuda_attention_batch *batch, size_t *workspace);
/* data: as cuda_cudnn_run takes it. */
enum vmt_status cuda_attention_batch_run(vmt_ctx *ctx, const cuda_attention_batch *batch,
                                         void *const data[CUDA_CUDNN_POINTERS]);
/* Bytes of dS that cuDNN's backward in a fixed order may keep in one call. */
size_t cuda_attention_most_pair_bytes(void);

/* ---- cuda_local.c */
vmt_op_attention_local cuda_attention_local;
vmt_op_attention_local_bwd cuda_attention_local_bwd;
size_t cuda_attention_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads,
                                  int64_t d, bool backward, size_t *scratch);

/* ---- cuda_ops.c, cuda_motion.c: fill their entries of the table */
void cuda_table_rows(vmt_ops *ops);
void cuda_table_motion(vmt_ops *ops);

#endif
