/* SPDX-License-Identifier: MIT
 *
 * Convolution: by cuDNN in BF16 where it has a kernel for the shape; else the input is unrolled,
 * some rows of the output at a time, and multiplied with the filter as a matrix (F32: exact,
 * without TF32).  `--verbose` tells at the first use of a shape which of the two it is.
 */
#include "backend/cuda/cuda_state.h"

#include <inttypes.h>

enum { UNROLL_BYTES = 1 << 27, FUSED_BYTES = 1 << 28, FILL_BYTES = 1 << 25 };

/* cuDNN's kernels take 256 MiB at most (cuda_cudnn.cpp), the unrolled input 128; and pixels with
 * their channels filled up, or F32 sums. */
size_t cuda_conv_bytes(vmt_ctx *ctx)
{
    return (ctx->act == VMT_BF16 ? FUSED_BYTES : UNROLL_BYTES) + FILL_BYTES;
}

/* x with its channels filled up with zeros to those of the packed filter, in `memory`. */
static enum vmt_status fill_channels(vmt_ctx *ctx, const cuda_packed *filter, const vmt_tensor *x,
                                     void *memory)
{
    const int64_t channels = x->shape[3];

    return cuda_check(ctx, "conv3d",
                      cuda_fit_channels(cuda_of(ctx)->stream, (cuda_view){memory, x->dtype},
                                        cuda_view_of(x), vmt_numel(x) / channels, filter->in,
                                        channels));
}

/* Bytes of a frame tensor with other channels. */
static size_t bytes_with(const vmt_tensor *frames, int64_t channels)
{
    return cuda_padded((size_t)(vmt_numel(frames) / frames->shape[3] * channels) *
                       vmt_dtype_bytes(frames->dtype));
}

/* ---------------------------------------------------------------- cuDNN */

#ifdef FASTVMT_HAVE_CUDNN

/* The convolution over as few axes as it has. */
static cuda_cudnn_conv describe(const vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                                const cuda_packed *filter, const vmt_conv_geometry *g)
{
    const int64_t kt = w->w.shape[2], kh = w->w.shape[3], kw = w->w.shape[4];
    const bool within_frames = kt == 1 && g->stride_t == 1;
    const bool across_frames = kh == 1 && kw == 1 && g->stride_h == 1 && g->stride_w == 1 &&
                               !(g->pad_top | g->pad_bottom | g->pad_left | g->pad_right);
    cuda_cudnn_conv c = {.axes = 3,
                         .batch = 1,
                         .in = filter->in,
                         .out = filter->out,
                         .x = {x->shape[0], x->shape[1], x->shape[2]},
                         .filter = {kt, kh, kw},
                         .y = {y->shape[0], y->shape[1], y->shape[2]},
                         .stride = {g->stride_t, g->stride_h, g->stride_w},
                         .before = {0, g->pad_top, g->pad_left},
                         .after = {0, g->pad_bottom, g->pad_right}};

    if (within_frames) {
        c.axes = 2;
        c.batch = c.x[0];
        c.x[0] = c.y[0] = 1;
    } else if (across_frames) { /* a frame is a row */
        c.axes = 2;
        c.x[2] *= c.x[1];
        c.y[2] *= c.y[1];
        c.x[1] = c.x[0];
        c.y[1] = c.y[0];
        c.filter[1] = kt;
        c.stride[1] = c.stride[0];
        c.x[0] = c.y[0] = c.filter[0] = c.stride[0] = 1;
    }
    return c;
}

/* The plan, or NULL. */
static cuda_cudnn_plan *plan_of(vmt_ctx *ctx, const cuda_cudnn_conv *c)
{
    cuda_cudnn *library = cuda_cudnn_of(ctx);
    bool made = false;

    if (!library)
        return NULL;
    cuda_cudnn_plan *plan = cuda_cudnn_find_conv(library, c, &made);
    if (made)
        vmt_log(ctx, VMT_LOG_DEBUG,
                "backend cuda: conv3d %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ", %" PRId64
                " of %" PRId64 "x%" PRId64 "x%" PRId64 ": %s%s",
                c->batch * c->x[0], c->x[1], c->x[2], c->in, c->out, c->filter[0], c->filter[1],
                c->filter[2], plan ? "cuDNN " : "products", plan ? cuda_cudnn_engine(plan) : "");
    return plan;
}

/* y = x + bias with the channels that y has; x may be y. */
static enum vmt_status finish(vmt_ctx *ctx, const cuda_packed *filter, const vmt_tensor *y, void *x)
{
    const int64_t channels = y->shape[3], wide = x == y->data ? channels : filter->out;
    const int64_t rows = vmt_numel(y) / channels;
    const cuda_view from = {x, y->dtype};
    cudaStream_t stream = cuda_of(ctx)->stream;
    cudaError_t error = cudaSuccess;

    if (filter->bias)
        error = cuda_add_bias(stream, cuda_view_of(y), from, filter->bias, rows, channels, wide);
    else if (x != y->data)
        error = cuda_fit_channels(stream, cuda_view_of(y), from, rows, channels, wide);
    return cuda_check(ctx, "conv3d", error);
}

/* *done false where cuDNN has no kernel, or is not there. */
static enum vmt_status fused(vmt_ctx *ctx, bool *done, vmt_tensor *y, const vmt_tensor *x,
                             const vmt_weight *w, const cuda_packed *filter,
                             const vmt_conv_geometry *geometry)
{
    const bool fill_x = filter->in != x->shape[3], fill_y = filter->out != y->shape[3];
    const bool aligned =
        (fill_x || (uintptr_t)x->data % 16 == 0) && (fill_y || (uintptr_t)y->data % 16 == 0);
    void *data[CUDA_CUDNN_POINTERS] = {0}, *memory = NULL;

    *done = false;
    if (ctx->act != VMT_BF16 || !aligned)
        return VMT_OK;
    const cuda_cudnn_conv conv = describe(y, x, w, filter, geometry);
    cuda_cudnn_plan *plan = plan_of(ctx, &conv);
    if (!plan)
        return VMT_OK;
    *done = true;
    const size_t workspace = cuda_padded(cuda_cudnn_workspace(plan));
    const size_t x_bytes = fill_x ? bytes_with(x, filter->in) : 0;
    const size_t y_bytes = fill_y ? bytes_with(y, filter->out) : 0;
    VMT_TRY(cuda_scratch(ctx, &memory, workspace + x_bytes + y_bytes));
    unsigned char *const wide_x = (unsigned char *)memory + workspace, *wide_y = wide_x + x_bytes;
    data[CUDA_CUDNN_X] = fill_x ? wide_x : x->data;
    data[CUDA_CUDNN_Y] = fill_y ? wide_y : y->data;
    data[CUDA_CUDNN_FILTER] = filter->matrix;
    if (fill_x)
        VMT_TRY(fill_channels(ctx, filter, x, wide_x));
    VMT_TRY(cuda_cudnn_execute(ctx, "conv3d", plan, data, memory));
    return finish(ctx, filter, y, data[CUDA_CUDNN_Y]);
}

#else

static enum vmt_status fused(vmt_ctx *ctx, bool *done, vmt_tensor *y, const vmt_tensor *x,
                             const vmt_weight *w, const cuda_packed *filter,
                             const vmt_conv_geometry *geometry)
{
    (void)ctx, (void)y, (void)x, (void)w, (void)filter, (void)geometry;
    *done = false; /* this build has no cuDNN */
    return VMT_OK;
}

#endif

/* ---------------------------------------------------------------- products */

/* y = a · filterᵀ + bias for `rows` rows of y from `first` on.  sums: F32 scratch where the product
 * must not round, else NULL. */
static enum vmt_status multiply(vmt_ctx *ctx, const cuda_packed *filter, vmt_tensor *y,
                                const void *a, int64_t k, int64_t b_row, void *sums, int64_t first,
                                int64_t rows)
{
    const int64_t out = y->shape[3];
    void *const to = (unsigned char *)y->data + (size_t)(first * out) * vmt_dtype_bytes(y->dtype);
    const cuda_matmul product = {.m = rows,
                                 .n = out,
                                 .k = k,
                                 .a_row = k,
                                 .b_row = b_row,
                                 .c_row = out,
                                 .in = ctx->act,
                                 .out = sums ? VMT_F32 : ctx->act,
                                 .b_turned = true,
                                 .has_bias = filter->bias != NULL};

    VMT_TRY(cuda_matmul_run(ctx, &product, sums ? sums : to, a, filter->matrix,
                            cuda_bias_for(filter, product.out), NULL));
    if (!sums)
        return VMT_OK;
    return cuda_check(ctx, "conv3d",
                      cuda_convert(cuda_of(ctx)->stream, (cuda_view){to, ctx->act},
                                   (cuda_view){sums, VMT_F32}, rows * out));
}

/* One tap, every cell: x is the matrix. */
static enum vmt_status plain(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                             const cuda_packed *filter)
{
    const int64_t in = x->shape[3], out = y->shape[3];
    void *sums = NULL;

    if (cuda_rounds_before_bias(filter, ctx->act, out, in))
        VMT_TRY(cuda_scratch(ctx, &sums, (size_t)vmt_numel(y) * sizeof(float)));
    return multiply(ctx, filter, y, x->data, in, filter->in, sums, 0, vmt_numel(y) / out);
}

static enum vmt_status unrolled(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const vmt_weight *w, const cuda_packed *filter,
                                const vmt_conv_geometry *geometry)
{
    const size_t item = vmt_dtype_bytes(ctx->act);
    const cuda_window window = {.height = x->shape[1],
                                .width = x->shape[2],
                                .channels = filter->in,
                                .kt = w->w.shape[2],
                                .kh = w->w.shape[3],
                                .kw = w->w.shape[4],
                                .stride_t = geometry->stride_t,
                                .stride_h = geometry->stride_h,
                                .stride_w = geometry->stride_w,
                                .pad_top = geometry->pad_top,
                                .pad_left = geometry->pad_left,
                                .out_h = y->shape[1],
                                .out_w = y->shape[2]};
    const int64_t out = y->shape[3], k = filter->in * window.kt * window.kh * window.kw;
    const int64_t rows = vmt_numel(y) / out, most = UNROLL_BYTES / (k * (int64_t)item) + 1;
    const int64_t chunk = most < rows ? most : rows;
    const size_t x_bytes = filter->in != x->shape[3] ? bytes_with(x, filter->in) : 0;
    const size_t matrix_bytes = cuda_padded((size_t)(chunk * k) * item);
    const bool through_f32 = cuda_rounds_before_bias(filter, ctx->act, out, k);
    const size_t sums_bytes = through_f32 ? (size_t)(chunk * out) * sizeof(float) : 0;
    cuda_view from = cuda_view_of(x);
    void *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory, x_bytes + matrix_bytes + sums_bytes));
    unsigned char *const matrix = (unsigned char *)memory + x_bytes;
    void *const sums = through_f32 ? matrix + matrix_bytes : NULL;
    if (x_bytes) {
        VMT_TRY(fill_channels(ctx, filter, x, memory));
        from.data = memory;
    }
    for (int64_t first = 0; first < rows; first += chunk) {
        const int64_t count = chunk < rows - first ? chunk : rows - first;
        VMT_TRY(cuda_check(ctx, "conv3d",
                           cuda_unroll(cuda_of(ctx)->stream, (cuda_view){matrix, ctx->act}, from,
                                       window, first, count)));
        VMT_TRY(multiply(ctx, filter, y, matrix, k, k, sums, first, count));
    }
    return VMT_OK;
}

enum vmt_status cuda_conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                            const vmt_conv_geometry *geometry)
{
    const vmt_conv_geometry *g = geometry;
    const int64_t *kernel = w->w.shape + 2;
    const bool one_tap = kernel[0] == 1 && kernel[1] == 1 && kernel[2] == 1;
    const bool every_cell = g->stride_t == 1 && g->stride_h == 1 && g->stride_w == 1 &&
                            !(g->pad_top | g->pad_bottom | g->pad_left | g->pad_right);
    const cuda_packed *filter = NULL;
    bool done = false;

    VMT_TRY(cuda_weight_view(ctx, w, "conv3d", &filter));
    if (one_tap && every_cell)
        return plain(ctx, y, x, filter);
    VMT_TRY(fused(ctx, &done, y, x, w, filter, g));
    return done ? VMT_OK : unrolled(ctx, y, x, w, filter, g);
}
