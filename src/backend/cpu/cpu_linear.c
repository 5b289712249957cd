/* SPDX-License-Identifier: MIT
 *
 * Weights and the products with them.  A weight whose stored dtype is that of the activations is
 * used where the file has it: oneDNN reads [out, in] forward as a transposed operand and backward
 * as it is, so one copy at most serves both.  A matrix in few bits has no copy: each product widens
 * it into memory that all of them share.
 */
#include "backend/cpu/cpu_state.h"
#include "base/quant.h"

#include <string.h>

/* ---------------------------------------------------------------- conversion */

void cpu_convert(const cpu_kernels *kernels, void *y, enum vmt_dtype y_dtype, const void *x,
                 enum vmt_dtype x_dtype, int64_t count)
{
    enum { CHUNK = 1024 };
    float buffer[CHUNK];

    if (y_dtype == x_dtype) {
        memcpy(y, x, (size_t)count * vmt_dtype_bytes(x_dtype));
        return;
    }
    if (x_dtype == VMT_F32 && y_dtype == VMT_BF16) {
        kernels->bf16_of_f32(y, x, count);
        return;
    }
    for (int64_t first = 0; first < count; first += CHUNK) {
        const int64_t n = cpu_min(CHUNK, count - first);
        const unsigned char *from =
            (const unsigned char *)x + (size_t)first * vmt_dtype_bytes(x_dtype);
        unsigned char *to = (unsigned char *)y + (size_t)first * vmt_dtype_bytes(y_dtype);

        if (x_dtype == VMT_F32)
            memcpy(buffer, from, (size_t)n * sizeof(float));
        else if (x_dtype == VMT_BF16)
            kernels->f32_of_bf16(buffer, (const uint16_t *)(const void *)from, n);
        else
            kernels->f32_of_f16(buffer, (const uint16_t *)(const void *)from, n);
        if (y_dtype == VMT_F32)
            memcpy(to, buffer, (size_t)n * sizeof(float));
        else
            kernels->bf16_of_f32((uint16_t *)(void *)to, buffer, n);
    }
}

/* ---------------------------------------------------------------- weights */

static bool usable(const vmt_tensor *t, enum vmt_dtype dtype)
{
    return t->dtype == dtype && (uintptr_t)t->data % vmt_dtype_bytes(dtype) == 0;
}

enum { PIECE_BYTES = 256 << 10 }; /* of a weight that a thread converts at a time */

static size_t padded(size_t bytes)
{
    return (bytes + VMT_ARENA_ALIGN - 1) & ~(size_t)(VMT_ARENA_ALIGN - 1);
}

/* Bytes of the converted matrix and bias; 0: used where they lie. */
static void packed_sizes(const vmt_ctx *ctx, const vmt_weight *weight, size_t *matrix, size_t *bias)
{
    const bool has_bias = weight->bias.data;
    *matrix = usable(&weight->w, ctx->act) || vmt_is_quantised(weight->w.dtype)
                  ? 0
                  : padded((size_t)vmt_numel(&weight->w) * vmt_dtype_bytes(ctx->act));
    *bias = !has_bias || usable(&weight->bias, VMT_F32)
                ? 0
                : padded((size_t)vmt_numel(&weight->bias) * sizeof(float));
}

size_t cpu_weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    size_t matrix, bias;

    (void)use; /* one form serves all uses */
    packed_sizes(ctx, weight, &matrix, &bias);
    return matrix + bias ? padded(sizeof(cpu_packed)) + matrix + bias : 0;
}

enum vmt_status cpu_weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    const size_t bytes = cpu_weight_prepare_bytes(ctx, weight, use);
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    size_t matrix, bias;

    if (weight->packed || bytes == 0)
        return VMT_OK;
    unsigned char *memory = ctx->ops->alloc(ctx, bytes);
    if (!memory)
        return vmt_fail(ctx, VMT_E_MEMORY, "backend cpu: out of memory: %zu bytes for a weight",
                        bytes);
    packed_sizes(ctx, weight, &matrix, &bias);
    unsigned char *const to_matrix = memory + padded(sizeof(cpu_packed));
    unsigned char *const to_bias = to_matrix + matrix;
    cpu_packed *packed = (cpu_packed *)(void *)memory;
    *packed = (cpu_packed){.matrix = weight->w.data, .bias = weight->bias.data};
    if (matrix) {
        const int64_t count = vmt_numel(&weight->w);
        const int64_t from = (int64_t)vmt_dtype_bytes(weight->w.dtype);
        const int64_t to = (int64_t)vmt_dtype_bytes(ctx->act), piece = PIECE_BYTES / from;
        /* threads side by side: a file is read in order */
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
        for (int64_t first = 0; first < count; first += piece)
            cpu_convert(kernels, to_matrix + first * to, ctx->act,
                        (const unsigned char *)weight->w.data + first * from, weight->w.dtype,
                        cpu_min(piece, count - first));
        packed->matrix = to_matrix;
    }
    if (bias) {
        cpu_convert(kernels, to_bias, VMT_F32, weight->bias.data, weight->bias.dtype,
                    vmt_numel(&weight->bias));
        packed->bias = (const float *)(const void *)to_bias;
    }
    weight->packed = packed;
    weight->packed_bytes = bytes;
    return VMT_OK;
}

void cpu_weight_release(vmt_ctx *ctx, vmt_weight *weight)
{
    if (vmt_is_quantised(weight->w.dtype))
        cpu_unpacked_free(ctx);
    if (weight->packed)
        ctx->ops->release(ctx, weight->packed);
    weight->packed = NULL;
    weight->packed_bytes = 0;
}

size_t cpu_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight)
{
    return vmt_is_quantised(weight->w.dtype)
               ? padded((size_t)vmt_numel(&weight->w) * vmt_dtype_bytes(ctx->act))
               : 0;
}

/* The matrix in few bits as one of activations, until the next product. */
static enum vmt_status unpack(vmt_ctx *ctx, const vmt_weight *weight, cpu_packed *view)
{
    const int64_t rows = weight->w.shape[0], in = weight->w.shape[1];
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    void *memory = NULL;

    VMT_TRY(cpu_unpacked(ctx, &memory, cpu_weight_use_bytes(ctx, weight)));
    view->matrix = memory;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < in; i += VMT_QUANT_BLOCK) {
            const int64_t n = cpu_min(VMT_QUANT_BLOCK, in - i);
            float values[VMT_QUANT_BLOCK];
            const bool is_f32 = ctx->act == VMT_F32;
            float *to = is_f32 ? (float *)memory + r * in + i : values;
            vmt_tensor_unpack(to, &weight->w, r * in + i, n);
            if (!is_f32)
                kernels->bf16_of_f32((uint16_t *)memory + r * in + i, values, n);
        }
    return VMT_OK;
}

bool cpu_weight_view(const vmt_ctx *ctx, const vmt_weight *weight, cpu_packed *view)
{
    size_t matrix, bias;

    if (weight->packed) {
        *view = *(const cpu_packed *)weight->packed;
        return true;
    }
    packed_sizes(ctx, weight, &matrix, &bias);
    *view = (cpu_packed){.matrix = weight->w.data, .bias = weight->bias.data};
    return matrix + bias == 0;
}

/* ---------------------------------------------------------------- products */

static enum vmt_status run(vmt_ctx *ctx, const cpu_matmul *matmul, void *c, const void *a,
                           const void *b, const void *bias)
{
    cpu_primitive *primitive = NULL;

    VMT_TRY(cpu_matmul_get(ctx, &primitive, matmul));
    const int before = cpu_threads_begin(ctx->threads);
    const dnnl_status_t status = cpu_matmul_run(cpu_of(ctx), primitive, 0, c, a, b, bias);
    cpu_threads_end(before);
    return status == dnnl_success ? VMT_OK : cpu_dnnl_fail(ctx, "matmul", status);
}

/*
 * The same product with F32 input under BF16 activations: the caller wants float accuracy (the
 * timestep's features), so rows of the weight are widened, a block at a time, and nothing is
 * rounded but the output.
 */
enum { WIDE_ELEMENTS = 1 << 20 };

typedef struct wide {
    float *block, *sums; /* widened rows of the weight; the result when it is not F32 */
    int64_t rows;        /* of a block */
} wide;

static enum vmt_status wide_begin(vmt_ctx *ctx, wide *w, int64_t out, int64_t in,
                                  const vmt_tensor *result)
{
    const int64_t count = result->dtype == VMT_F32 ? 0 : vmt_numel(result);
    void *memory = NULL;
    size_t reals, bytes;

    w->rows = cpu_min(out, WIDE_ELEMENTS / in + 1);
    const size_t block = padded((size_t)(w->rows * in) * sizeof(float)) / sizeof(float);
    if (!vmt_add_size(block, (size_t)count, &reals) || !vmt_mul_size(reals, sizeof(float), &bytes))
        bytes = SIZE_MAX;
    VMT_TRY(cpu_scratch(ctx, &memory, bytes));
    w->block = memory;
    w->sums = count ? w->block + block : result->data;
    return VMT_OK;
}

static void widen(const vmt_ctx *ctx, const wide *w, const cpu_packed *view,
                  const cpu_kernels *kernels, int64_t first, int64_t rows, int64_t in)
{
    const uint16_t *from = (const uint16_t *)view->matrix + first * in;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        kernels->f32_of_bf16(w->block + r * in, from + r * in, in);
}

static void wide_end(vmt_ctx *ctx, const wide *w, vmt_tensor *result)
{
    if (w->sums != result->data)
        cpu_convert(cpu_of(ctx)->kernels, result->data, result->dtype, w->sums, VMT_F32,
                    vmt_numel(result));
}

static enum vmt_status wide_linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                   const cpu_packed *view, enum vmt_epilogue epilogue)
{
    const int64_t in = x->shape[1], out = y->shape[1];
    wide w = {0};

    VMT_TRY(wide_begin(ctx, &w, out, in, y));
    for (int64_t o = 0; o < out; o += w.rows) {
        const int64_t rows = cpu_min(w.rows, out - o);
        const cpu_matmul matmul = {.m = x->shape[0],
                                   .k = in,
                                   .n = rows,
                                   .a_row = in,
                                   .a_col = 1,
                                   .b_row = 1,
                                   .b_col = in,
                                   .c_row = out,
                                   .in = VMT_F32,
                                   .out = VMT_F32,
                                   .epilogue = epilogue,
                                   .has_bias = view->bias};
        widen(ctx, &w, view, cpu_of(ctx)->kernels, o, rows, in);
        VMT_TRY(
            run(ctx, &matmul, w.sums + o, x->data, w.block, view->bias ? view->bias + o : NULL));
    }
    wide_end(ctx, &w, y);
    return VMT_OK;
}

static enum vmt_status wide_linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                       const cpu_packed *view, bool add)
{
    const int64_t in = dx->shape[1], out = dy->shape[1];
    wide w = {0};

    VMT_TRY(wide_begin(ctx, &w, out, in, dx));
    if (add && w.sums != dx->data)
        cpu_convert(cpu_of(ctx)->kernels, w.sums, VMT_F32, dx->data, dx->dtype, vmt_numel(dx));
    for (int64_t o = 0; o < out; o += w.rows) {
        const int64_t rows = cpu_min(w.rows, out - o);
        const cpu_matmul matmul = {.m = dy->shape[0],
                                   .k = rows,
                                   .n = in,
                                   .a_row = out,
                                   .a_col = 1,
                                   .b_row = in,
                                   .b_col = 1,
                                   .c_row = in,
                                   .in = VMT_F32,
                                   .out = VMT_F32,
                                   .add = add || o > 0};
        widen(ctx, &w, view, cpu_of(ctx)->kernels, o, rows, in);
        VMT_TRY(run(ctx, &matmul, w.sums, (const float *)dy->data + o, w.block, NULL));
    }
    wide_end(ctx, &w, dx);
    return VMT_OK;
}

/* y = epilogue(x Wᵀ + b).   y: [N, out] R|A; x: [N, in] R|A; w: [out, in]. */
enum vmt_status cpu_linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           enum vmt_epilogue epilogue)
{
    const int64_t in = x->shape[1], out = y->shape[1];
    cpu_packed view;

    if (!cpu_weight_view(ctx, w, &view))
        return vmt_ops_ref32.linear(ctx, y, x, w, epilogue);
    if (vmt_is_quantised(w->w.dtype))
        VMT_TRY(unpack(ctx, w, &view));
    if (x->dtype != ctx->act)
        return wide_linear(ctx, y, x, &view, epilogue);
    const cpu_matmul matmul = {.m = x->shape[0],
                               .k = in,
                               .n = out,
                               .a_row = in,
                               .a_col = 1,
                               .b_row = 1,
                               .b_col = in,
                               .c_row = out,
                               .in = x->dtype,
                               .out = y->dtype,
                               .epilogue = epilogue,
                               .has_bias = view.bias};
    return run(ctx, &matmul, y->data, x->data, view.matrix, view.bias);
}

static enum vmt_status linear_bwd_either(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                         const vmt_weight *w, bool add)
{
    const int64_t in = dx->shape[1], out = dy->shape[1];
    cpu_packed view;

    if (!cpu_weight_view(ctx, w, &view))
        return add ? vmt_ops_ref32.linear_bwd_acc(ctx, dx, dy, w)
                   : vmt_ops_ref32.linear_bwd(ctx, dx, dy, w);
    if (vmt_is_quantised(w->w.dtype))
        VMT_TRY(unpack(ctx, w, &view));
    if (dy->dtype != ctx->act)
        return wide_linear_bwd(ctx, dx, dy, &view, add);
    const cpu_matmul matmul = {.m = dy->shape[0],
                               .k = out,
                               .n = in,
                               .a_row = out,
                               .a_col = 1,
                               .b_row = in,
                               .b_col = 1,
                               .c_row = in,
                               .in = dy->dtype,
                               .out = dx->dtype,
                               .add = add};
    return run(ctx, &matmul, dx->data, dy->data, view.matrix, NULL);
}

/* dx = dy W.   dx: [N, in] R|A; dy: [N, out] R|A.  No dW, db: weights are constant. */
enum vmt_status cpu_linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                               const vmt_weight *w)
{
    return linear_bwd_either(ctx, dx, dy, w, false);
}

/* dx += dy W. */
enum vmt_status cpu_linear_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const vmt_weight *w)
{
    return linear_bwd_either(ctx, dx, dy, w, true);
}
