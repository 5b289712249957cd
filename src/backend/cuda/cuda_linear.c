/* SPDX-License-Identifier: MIT
 *
 * Weights on the device, and the products with them.
 */
#include "backend/cuda/cuda_state.h"

#include "base/quant.h"

/* ---------------------------------------------------------------- weights */

/* Sizes of a packed weight: elements of its axes, bytes of its parts. */
typedef struct parts {
    int64_t out, in, taps;
    size_t matrix, bias, bias_bf16;
} parts;

static parts parts_of(const vmt_ctx *ctx, const vmt_weight *weight)
{
    const vmt_tensor *w = &weight->w;
    const bool is_filter = w->rank == 5, is_bf16 = ctx->act == VMT_BF16;
    const int64_t fill = is_filter && is_bf16 ? 7 : 0;
    parts p = {.out = (w->shape[0] + fill) & ~fill,
               .in = (w->shape[1] + fill) & ~fill,
               .taps = is_filter ? w->shape[2] * w->shape[3] * w->shape[4] : 1};

    p.matrix = vmt_is_quantised(w->dtype)
                   ? cuda_quant_bytes(w)
                   : cuda_padded((size_t)(p.out * p.in * p.taps) * vmt_dtype_bytes(ctx->act));
    if (weight->bias.data) {
        p.bias = cuda_padded((size_t)p.out * sizeof(float));
        p.bias_bf16 = is_bf16 ? cuda_padded((size_t)p.out * sizeof(uint16_t)) : 0;
    }
    return p;
}

static size_t matrix_bytes(const vmt_ctx *ctx, const vmt_weight *weight)
{
    const parts p = parts_of(ctx, weight);
    return cuda_own_pages(p.matrix + p.bias + p.bias_bf16); /* for forward and backward */
}

size_t cuda_weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    return matrix_bytes(ctx, weight) + cuda_fp8_bytes(weight, use);
}

/* Filters are put in order in scratch, which belongs to the stream that computes. */
static cudaStream_t stream_for(vmt_ctx *ctx, const vmt_weight *weight)
{
    return weight->w.rank == 5 ? cuda_of(ctx)->stream : cuda_of(ctx)->weights;
}

/* A filter's elements in the order of the unrolled input; anything else as it is. */
static enum vmt_status fill_matrix(vmt_ctx *ctx, const cuda_packed *packed, const parts *p,
                                   const vmt_weight *weight)
{
    const vmt_tensor *w = &weight->w;
    vmt_tensor matrix = *w;
    void *raw = NULL;

    if (vmt_is_quantised(w->dtype))
        return cuda_quant_send(ctx, stream_for(ctx, weight), packed->matrix, w);
    matrix.data = packed->matrix;
    matrix.dtype = ctx->act;
    if (w->rank != 5)
        return cuda_send(ctx, "weight_prepare", stream_for(ctx, weight), cuda_view_of(&matrix), w);
    const size_t bytes = vmt_tensor_bytes(w);
    VMT_TRY(cuda_scratch(ctx, &raw, bytes));
    vmt_tensor copy = *w;
    copy.data = raw;
    VMT_TRY(cuda_upload(ctx, &copy, w));
    const cuda_filter filter = {.out = w->shape[0],
                                .in = w->shape[1],
                                .taps = p->taps,
                                .out_filled = p->out,
                                .in_filled = p->in};
    return cuda_check(ctx, "weight_prepare",
                      cuda_filter_order(cuda_of(ctx)->stream, cuda_view_of(&matrix),
                                        cuda_view_of(&copy), filter));
}

static enum vmt_status fill_bias(vmt_ctx *ctx, const cuda_packed *packed, const vmt_weight *weight)
{
    const cudaStream_t stream = stream_for(ctx, weight);

    if (!weight->bias.data)
        return VMT_OK;
    VMT_TRY(cuda_send(ctx, "weight_prepare", stream, (cuda_view){packed->bias, VMT_F32},
                      &weight->bias));
    if (!packed->bias_bf16)
        return VMT_OK;
    return cuda_send(ctx, "weight_prepare", stream, (cuda_view){packed->bias_bf16, VMT_BF16},
                     &weight->bias);
}

/* What is computed from here on may read what was brought. */
static enum vmt_status join(vmt_ctx *ctx)
{
    cuda_state *state = cuda_of(ctx);
    cudaError_t error = cudaEventRecord(state->brought, state->weights);

    if (error == cudaSuccess)
        error = cudaStreamWaitEvent(state->stream, state->brought, 0);
    return cuda_check(ctx, "weight_prepare", error);
}

enum vmt_status cuda_weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    const parts p = parts_of(ctx, weight);
    const size_t bytes = matrix_bytes(ctx, weight);
    void *memory = NULL;

    if (weight->packed)
        return cuda_fp8_prepare(ctx, weight, use);
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(cuda_packed)));
    cuda_packed *packed = memory;
    enum vmt_status status = cuda_block_take(ctx, &packed->block, bytes);
    if (status != VMT_OK) {
        vmt_free(packed);
        return status;
    }
    weight->packed = packed;
    weight->packed_bytes = bytes;
    packed->out = p.out;
    packed->in = p.in;
    packed->matrix = packed->block;
    if (p.bias)
        packed->bias = (float *)(void *)((unsigned char *)packed->block + p.matrix);
    if (p.bias_bf16)
        packed->bias_bf16 =
            (uint16_t *)(void *)((unsigned char *)packed->block + p.matrix + p.bias);
    if (p.out > weight->w.shape[0]) /* the filling behind the bias */
        status = cuda_check(ctx, "weight_prepare",
                            cudaMemsetAsync(packed->block, 0, bytes, cuda_of(ctx)->stream));
    if (status == VMT_OK)
        status = fill_matrix(ctx, packed, &p, weight);
    if (status == VMT_OK)
        status = fill_bias(ctx, packed, weight);
    const enum vmt_status joined = join(ctx);
    status = status != VMT_OK ? status : joined;
    if (status == VMT_OK)
        status = cuda_fp8_prepare(ctx, weight, use);
    if (status != VMT_OK)
        cuda_weight_release(ctx, weight);
    return status;
}

void cuda_weight_release(vmt_ctx *ctx, vmt_weight *weight)
{
    cuda_packed *packed = weight->packed;

    if (packed)
        cuda_block_give(ctx, packed->block, weight->packed_bytes - packed->fp8_bytes);
    if (packed && packed->fp8)
        cuda_block_give(ctx, packed->fp8, packed->fp8_bytes);
    vmt_free(packed);
    weight->packed = NULL;
    weight->packed_bytes = 0;
}

enum vmt_status cuda_weight_view(vmt_ctx *ctx, const vmt_weight *weight, const char *op,
                                 const cuda_packed **view)
{
    *view = weight->packed;
    if (!*view)
        return vmt_fail(ctx, VMT_E_INTERNAL, "backend cuda: %s: a weight was not prepared", op);
    return VMT_OK;
}

/* ---------------------------------------------------------------- products */

const void *cuda_bias_for(const cuda_packed *view, enum vmt_dtype out)
{
    return out == VMT_BF16 ? (const void *)view->bias_bf16 : (const void *)view->bias;
}

/* What cuBLASLt has no epilogue for, or not in F32. */
static enum vmt_status apply(vmt_ctx *ctx, vmt_tensor *y, enum vmt_epilogue epilogue)
{
    const cuda_view v = cuda_view_of(y);
    const enum cuda_map_kind map = epilogue == VMT_EPILOGUE_GELU ? CUDA_GELU : CUDA_SILU;

    return cuda_check(
        ctx, "linear",
        cuda_map(cuda_of(ctx)->stream, map, v, v, (cuda_view){NULL, v.dtype}, vmt_numel(y)));
}

/* What a product reads and writes besides its input.  F32 operands under BF16 activations: the
 * caller wants float accuracy, so the weight is widened into scratch.  A BF16 result that the
 * product itself would not round once and last goes through F32. */
typedef struct operands {
    const void *matrix;
    vmt_tensor sums; /* the result, or F32 scratch of its shape */
} operands;

static enum vmt_status operands_of(vmt_ctx *ctx, operands *o, const vmt_weight *w,
                                   const vmt_tensor *y, bool is_wide, bool through_f32)
{
    const void *matrix = NULL;
    const size_t wide = is_wide ? cuda_padded((size_t)vmt_numel(&w->w) * sizeof(float)) : 0;
    const size_t sums = through_f32 ? (size_t)vmt_numel(y) * sizeof(float) : 0;
    void *memory = NULL;

    VMT_TRY(cuda_weight_matrix(ctx, "linear", w, &matrix));
    *o = (operands){matrix, *y};
    if (wide + sums)
        VMT_TRY(cuda_scratch(ctx, &memory, wide + sums));
    if (through_f32) {
        o->sums.data = (unsigned char *)memory + wide;
        o->sums.dtype = VMT_F32;
    }
    if (!is_wide)
        return VMT_OK;
    o->matrix = memory;
    return cuda_check(ctx, "linear",
                      cuda_convert(cuda_of(ctx)->stream, (cuda_view){memory, VMT_F32},
                                   (cuda_view){(void *)(uintptr_t)matrix, ctx->act},
                                   vmt_numel(&w->w)));
}

size_t cuda_wide_bytes(vmt_ctx *ctx, const vmt_weight *weight)
{
    return ctx->act == VMT_F32 ? 0 : cuda_padded((size_t)vmt_numel(&weight->w) * sizeof(float));
}

bool cuda_rounds_before_bias(const cuda_packed *view, enum vmt_dtype out, int64_t n, int64_t k)
{
    return view->bias && out == VMT_BF16 && (n % 8 || k % 8);
}

enum vmt_status cuda_linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                            enum vmt_epilogue epilogue)
{
    const int64_t in = x->shape[1], out = y->shape[1];
    const bool is_wide = x->dtype != ctx->act;
    const cuda_packed *view = NULL;
    operands o;

    VMT_TRY(cuda_weight_view(ctx, w, "linear", &view));
    const bool through_f32 =
        (is_wide && y->dtype != VMT_F32) || cuda_rounds_before_bias(view, y->dtype, out, in);
    VMT_TRY(operands_of(ctx, &o, w, y, is_wide, through_f32));
    const bool gelu_inside = epilogue == VMT_EPILOGUE_GELU && o.sums.dtype == VMT_BF16;
    const cuda_matmul product = {.m = x->shape[0],
                                 .n = out,
                                 .k = in,
                                 .a_row = in,
                                 .b_row = in,
                                 .c_row = out,
                                 .in = x->dtype,
                                 .out = o.sums.dtype,
                                 .epilogue = gelu_inside ? CUDA_EPILOGUE_GELU : CUDA_EPILOGUE_NONE,
                                 .b_turned = true,
                                 .has_bias = view->bias != NULL};
    VMT_TRY(cuda_matmul_run(ctx, &product, o.sums.data, x->data, o.matrix,
                            cuda_bias_for(view, o.sums.dtype), NULL));
    if (epilogue != VMT_EPILOGUE_NONE && !gelu_inside)
        VMT_TRY(apply(ctx, &o.sums, epilogue));
    return through_f32 ? cuda_copy(ctx, y, &o.sums) : VMT_OK;
}

static enum vmt_status linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                  const vmt_weight *w, bool add)
{
    const int64_t in = dx->shape[1], out = dy->shape[1];
    const bool is_wide = dy->dtype != ctx->act, through_f32 = is_wide && dx->dtype != VMT_F32;
    const cuda_packed *view = NULL;
    operands o;

    VMT_TRY(cuda_weight_view(ctx, w, "linear_bwd", &view));
    VMT_TRY(operands_of(ctx, &o, w, dx, is_wide, through_f32));
    if (add && through_f32)
        VMT_TRY(cuda_copy(ctx, &o.sums, dx));
    const cuda_matmul product = {.m = dy->shape[0],
                                 .n = in,
                                 .k = out,
                                 .a_row = out,
                                 .b_row = in,
                                 .c_row = in,
                                 .in = dy->dtype,
                                 .out = o.sums.dtype,
                                 .add = add};
    VMT_TRY(cuda_matmul_run(ctx, &product, o.sums.data, dy->data, o.matrix, NULL, NULL));
    return through_f32 ? cuda_copy(ctx, dx, &o.sums) : VMT_OK;
}

enum vmt_status cuda_linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                const vmt_weight *w)
{
    return linear_bwd(ctx, dx, dy, w, false);
}

enum vmt_status cuda_linear_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                    const vmt_weight *w)
{
    return linear_bwd(ctx, dx, dy, w, true);
}

/* ---------------------------------------------------------------- products with GELU's two halves
 */

/* Whether cuBLASLt reads or writes `aux` beside a product of BF16. */
static bool takes_aux(const vmt_tensor *x, const vmt_tensor *y, const vmt_tensor *aux)
{
    const bool is_bf16 = x->dtype == VMT_BF16 && y->dtype == VMT_BF16 && aux->dtype == VMT_BF16;

    return is_bf16 && x->shape[1] % 8 == 0 && y->shape[1] % 8 == 0 &&
           (uintptr_t)aux->data % 16 == 0;
}

enum vmt_status cuda_linear_gelu(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *u, const vmt_tensor *x,
                                 const vmt_weight *w)
{
    const int64_t in = x->shape[1], out = y->shape[1];
    const cuda_packed *view = NULL;
    const void *matrix = NULL;

    if (ctx->act != VMT_BF16 || !takes_aux(x, y, u) || y->data == u->data) {
        VMT_TRY(cuda_linear(ctx, u, x, w, VMT_EPILOGUE_NONE));
        return cuda_check(ctx, "linear_gelu",
                          cuda_map(cuda_of(ctx)->stream, CUDA_GELU, cuda_view_of(y),
                                   cuda_view_of(u), (cuda_view){NULL, u->dtype}, vmt_numel(y)));
    }
    VMT_TRY(cuda_weight_view(ctx, w, "linear_gelu", &view));
    VMT_TRY(cuda_weight_matrix(ctx, "linear_gelu", w, &matrix));
    const cuda_matmul product = {.m = x->shape[0],
                                 .n = out,
                                 .k = in,
                                 .a_row = in,
                                 .b_row = in,
                                 .c_row = out,
                                 .in = x->dtype,
                                 .out = y->dtype,
                                 .epilogue = CUDA_EPILOGUE_GELU_KEEP,
                                 .b_turned = true,
                                 .has_bias = view->bias != NULL};
    return cuda_matmul_run(ctx, &product, y->data, x->data, matrix, cuda_bias_for(view, y->dtype),
                           u->data);
}

enum vmt_status cuda_linear_bwd_gelu(vmt_ctx *ctx, vmt_tensor *du, const vmt_tensor *dy,
                                     const vmt_weight *w, const vmt_tensor *u)
{
    const int64_t in = du->shape[1], out = dy->shape[1];
    const cuda_packed *view = NULL;
    const void *matrix = NULL;

    if (ctx->act != VMT_BF16 || !takes_aux(dy, du, u)) {
        VMT_TRY(cuda_linear_bwd(ctx, du, dy, w));
        return cuda_check(ctx, "linear_bwd_gelu",
                          cuda_map(cuda_of(ctx)->stream, CUDA_GELU_BWD, cuda_view_of(du),
                                   cuda_view_of(du), cuda_view_of(u), vmt_numel(du)));
    }
    VMT_TRY(cuda_weight_view(ctx, w, "linear_bwd_gelu", &view));
    VMT_TRY(cuda_weight_matrix(ctx, "linear_bwd_gelu", w, &matrix));
    const cuda_matmul product = {.m = dy->shape[0],
                                 .n = in,
                                 .k = out,
                                 .a_row = out,
                                 .b_row = in,
                                 .c_row = in,
                                 .in = dy->dtype,
                                 .out = du->dtype,
                                 .epilogue = CUDA_EPILOGUE_GELU_BWD};
    return cuda_matmul_run(ctx, &product, du->data, dy->data, matrix, NULL, u->data);
}
