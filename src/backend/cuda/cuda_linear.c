/* SPDX-License-Identifier: MIT
 *
 * Weights on the device, and the products with them.
 */
#include "backend/cuda/cuda_state.h"

enum { PACK_ALIGN = 256 };

/* ---------------------------------------------------------------- weights */

static size_t padded(size_t bytes)
{
    return (bytes + PACK_ALIGN - 1) & ~(size_t)(PACK_ALIGN - 1);
}

/* Bytes of the parts of a packed weight. */
typedef struct parts {
    size_t matrix, bias, bias_bf16;
} parts;

static parts parts_of(const vmt_ctx *ctx, const vmt_weight *weight)
{
    const size_t out = weight->bias.data ? (size_t)vmt_numel(&weight->bias) : 0;
    return (parts){.matrix = padded((size_t)vmt_numel(&weight->w) * vmt_dtype_bytes(ctx->act)),
                   .bias = padded(out * sizeof(float)),
                   .bias_bf16 = ctx->act == VMT_BF16 ? padded(out * sizeof(uint16_t)) : 0};
}

size_t cuda_weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    const parts p = parts_of(ctx, weight);
    (void)use; /* one form serves forward and backward */
    return p.matrix + p.bias + p.bias_bf16;
}

/* A filter's elements in the order of the unrolled input; anything else as it is. */
static enum vmt_status fill_matrix(vmt_ctx *ctx, const cuda_packed *packed,
                                   const vmt_weight *weight)
{
    const vmt_tensor *w = &weight->w;
    vmt_tensor matrix = *w;
    void *raw = NULL;

    matrix.data = packed->matrix;
    matrix.dtype = ctx->act;
    if (w->rank != 5)
        return cuda_upload(ctx, &matrix, w);
    const size_t bytes = vmt_tensor_bytes(w);
    VMT_TRY(cuda_scratch(ctx, &raw, bytes));
    vmt_tensor copy = *w;
    copy.data = raw;
    VMT_TRY(cuda_upload(ctx, &copy, w));
    return cuda_check(ctx, "weight_prepare",
                      cuda_filter_order(cuda_of(ctx)->stream, cuda_view_of(&matrix),
                                        cuda_view_of(&copy), w->shape[0], w->shape[1],
                                        w->shape[2] * w->shape[3] * w->shape[4]));
}

static enum vmt_status fill_bias(vmt_ctx *ctx, const cuda_packed *packed, const vmt_weight *weight)
{
    vmt_tensor bias = weight->bias;

    if (!bias.data)
        return VMT_OK;
    bias.data = packed->bias;
    bias.dtype = VMT_F32;
    VMT_TRY(cuda_upload(ctx, &bias, &weight->bias));
    if (!packed->bias_bf16)
        return VMT_OK;
    bias.data = packed->bias_bf16;
    bias.dtype = VMT_BF16;
    return cuda_upload(ctx, &bias, &weight->bias);
}

enum vmt_status cuda_weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    const parts p = parts_of(ctx, weight);
    const size_t bytes = cuda_weight_prepare_bytes(ctx, weight, use);
    void *memory = NULL;

    if (weight->packed)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(cuda_packed)));
    cuda_packed *packed = memory;
    packed->block = cuda_alloc(ctx, bytes);
    if (!packed->block) {
        vmt_free(packed);
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "backend cuda: out of device memory: %zu bytes for a weight", bytes);
    }
    weight->packed = packed;
    weight->packed_bytes = bytes;
    packed->matrix = packed->block;
    if (p.bias)
        packed->bias = (float *)(void *)((unsigned char *)packed->block + p.matrix);
    if (p.bias_bf16)
        packed->bias_bf16 =
            (uint16_t *)(void *)((unsigned char *)packed->block + p.matrix + p.bias);
    enum vmt_status status = fill_matrix(ctx, packed, weight);
    if (status == VMT_OK)
        status = fill_bias(ctx, packed, weight);
    if (status != VMT_OK)
        cuda_weight_release(ctx, weight);
    return status;
}

void cuda_weight_release(vmt_ctx *ctx, vmt_weight *weight)
{
    cuda_packed *packed = weight->packed;

    if (packed)
        cuda_release(ctx, packed->block);
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

/* The bias in the dtype that a product writing `out` wants. */
static const void *bias_for(const cuda_packed *view, enum vmt_dtype out)
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
                                   const cuda_packed *view, const vmt_tensor *y, bool is_wide,
                                   bool through_f32)
{
    const size_t wide = is_wide ? padded((size_t)vmt_numel(&w->w) * sizeof(float)) : 0;
    const size_t sums = through_f32 ? (size_t)vmt_numel(y) * sizeof(float) : 0;
    void *memory = NULL;

    *o = (operands){view->matrix, *y};
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
                                   (cuda_view){view->matrix, ctx->act}, vmt_numel(&w->w)));
}

/* Products whose rows are no multiples of 16 bytes run on kernels that round to BF16 before they
 * add the bias. */
static bool rounds_before_bias(const cuda_packed *view, enum vmt_dtype out, int64_t n, int64_t k)
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
        (is_wide && y->dtype != VMT_F32) || rounds_before_bias(view, y->dtype, out, in);
    VMT_TRY(operands_of(ctx, &o, w, view, y, is_wide, through_f32));
    const bool gelu_inside = epilogue == VMT_EPILOGUE_GELU && o.sums.dtype == VMT_BF16;
    const cuda_matmul product = {.m = x->shape[0],
                                 .n = out,
                                 .k = in,
                                 .a_row = in,
                                 .b_row = in,
                                 .c_row = out,
                                 .in = x->dtype,
                                 .out = o.sums.dtype,
                                 .epilogue = gelu_inside ? VMT_EPILOGUE_GELU : VMT_EPILOGUE_NONE,
                                 .b_turned = true,
                                 .has_bias = view->bias != NULL};
    VMT_TRY(cuda_matmul_run(ctx, &product, o.sums.data, x->data, o.matrix,
                            bias_for(view, o.sums.dtype)));
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
    VMT_TRY(operands_of(ctx, &o, w, view, dx, is_wide, through_f32));
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
    VMT_TRY(cuda_matmul_run(ctx, &product, o.sums.data, dy->data, o.matrix, NULL));
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

/* ---------------------------------------------------------------- convolution
 *
 * The input is unrolled, some rows of the output at a time, and multiplied with the filter as a
 * matrix. */

enum { UNROLL_BYTES = 1 << 27 };

enum vmt_status cuda_conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                            const vmt_conv_geometry *geometry)
{
    const int64_t *filter = w->w.shape, out = filter[0],
                  k = filter[1] * filter[2] * filter[3] * filter[4];
    const size_t item = vmt_dtype_bytes(ctx->act);
    const int64_t rows = vmt_numel(y) / out, most = UNROLL_BYTES / (k * (int64_t)item) + 1;
    const bool is_plain =
        k == filter[1] && geometry->stride_t == 1 && geometry->stride_h == 1 &&
        geometry->stride_w == 1 &&
        !(geometry->pad_top | geometry->pad_bottom | geometry->pad_left | geometry->pad_right);
    const cuda_window window = {.height = x->shape[1],
                                .width = x->shape[2],
                                .channels = x->shape[3],
                                .kt = filter[2],
                                .kh = filter[3],
                                .kw = filter[4],
                                .stride_t = geometry->stride_t,
                                .stride_h = geometry->stride_h,
                                .stride_w = geometry->stride_w,
                                .pad_top = geometry->pad_top,
                                .pad_left = geometry->pad_left,
                                .out_h = y->shape[1],
                                .out_w = y->shape[2]};
    const cuda_packed *view = NULL;
    void *memory = NULL;

    VMT_TRY(cuda_weight_view(ctx, w, "conv3d", &view));
    const bool through_f32 = rounds_before_bias(view, ctx->act, out, k);
    const int64_t chunk = most < rows ? most : rows;
    const size_t unrolled = is_plain ? 0 : padded((size_t)(chunk * k) * item);
    const size_t sums = through_f32 ? (size_t)(chunk * out) * sizeof(float) : 0;
    cuda_matmul product = {.n = out,
                           .k = k,
                           .a_row = k,
                           .b_row = k,
                           .c_row = out,
                           .in = ctx->act,
                           .out = through_f32 ? VMT_F32 : ctx->act,
                           .b_turned = true,
                           .has_bias = view->bias != NULL};
    if (unrolled + sums)
        VMT_TRY(cuda_scratch(ctx, &memory, unrolled + sums));
    for (int64_t first = 0; first < rows; first += chunk) {
        void *const to = (unsigned char *)y->data + (size_t)(first * out) * item;
        void *const result = through_f32 ? (unsigned char *)memory + unrolled : to;
        const void *from = (const unsigned char *)x->data + (size_t)(first * k) * item;
        product.m = chunk < rows - first ? chunk : rows - first;
        if (!is_plain) {
            VMT_TRY(cuda_check(ctx, "conv3d",
                               cuda_unroll(cuda_of(ctx)->stream, (cuda_view){memory, ctx->act},
                                           cuda_view_of(x), window, first, product.m)));
            from = memory;
        }
        VMT_TRY(cuda_matmul_run(ctx, &product, result, from, view->matrix,
                                bias_for(view, product.out)));
        if (through_f32)
            VMT_TRY(cuda_check(ctx, "conv3d",
                               cuda_convert(cuda_of(ctx)->stream, (cuda_view){to, ctx->act},
                                            (cuda_view){result, VMT_F32}, product.m * out)));
    }
    return VMT_OK;
}
