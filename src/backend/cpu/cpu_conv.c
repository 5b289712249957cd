/* SPDX-License-Identifier: MIT
 *
 * The VAE's convolution by oneDNN.  Activations [T, H, W, C] are its ndhwc with one image; the
 * filter stays in the file's order and is put into the order oneDNN asks for at each call, into
 * scratch: that order may depend on the frame's size, and the copy is small beside the convolution.
 */
#include "backend/cpu/cpu_state.h"

enum { CONV_X, CONV_W, CONV_Y, CONV_B };

static cpu_key conv_key(const vmt_ctx *ctx, const vmt_tensor *x, const vmt_weight *w,
                        const vmt_conv_geometry *g)
{
    const int64_t *f = w->w.shape;
    const cpu_key key = {{2, x->shape[0], x->shape[1], x->shape[2], x->shape[3], f[0], f[2], f[3],
                          f[4], g->stride_t, g->stride_h, g->stride_w, g->pad_top, g->pad_bottom,
                          g->pad_left, g->pad_right, x->dtype, w->bias.data != NULL, ctx->threads}};
    return key;
}

static dnnl_status_t activation_desc(dnnl_memory_desc_t *desc, const vmt_tensor *t)
{
    const dnnl_dims_t dims = {1, t->shape[3], t->shape[0], t->shape[1], t->shape[2]};
    return dnnl_memory_desc_init_by_tag(desc, 5, dims, cpu_dnnl_type(t->dtype), dnnl_ndhwc);
}

static dnnl_status_t conv_desc(dnnl_primitive_desc_t *desc, dnnl_memory_desc_t descs[4],
                               const vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                               const vmt_conv_geometry *g, dnnl_engine_t engine)
{
    const int64_t *f = w->w.shape;
    const dnnl_dims_t filter = {f[0], f[1], f[2], f[3], f[4]}, channels = {f[0]};
    const dnnl_dims_t strides = {g->stride_t, g->stride_h, g->stride_w};
    const dnnl_dims_t before = {0, g->pad_top, g->pad_left};
    /* The library counts paddings after the end by the output it is given. */
    const dnnl_dims_t after = {0, g->pad_bottom, g->pad_right};
    dnnl_convolution_desc_t operation;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = activation_desc(&descs[CONV_X], x);

    if (status == dnnl_success)
        status = dnnl_memory_desc_init_by_tag(&descs[CONV_W], 5, filter, cpu_dnnl_type(x->dtype),
                                              dnnl_format_tag_any);
    if (status == dnnl_success)
        status = activation_desc(&descs[CONV_Y], y);
    if (status == dnnl_success)
        status = dnnl_memory_desc_init_by_tag(&descs[CONV_B], 1, channels, dnnl_f32, dnnl_a);
    if (status == dnnl_success)
        status = dnnl_convolution_forward_desc_init(
            &operation, dnnl_forward_inference, dnnl_convolution_direct, &descs[CONV_X],
            &descs[CONV_W], w->bias.data ? &descs[CONV_B] : NULL, &descs[CONV_Y], strides, before,
            after);
    if (status == dnnl_success)
        status = cpu_attributes(&attributes, VMT_EPILOGUE_NONE, false);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(desc, &operation, attributes, engine, NULL);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    if (status == dnnl_success)
        descs[CONV_W] = *dnnl_primitive_desc_query_md(*desc, dnnl_query_weights_md, 0);
    return status;
}

/* The reorder of the filter from the file's order to `wanted`. */
static enum vmt_status get_reorder(vmt_ctx *ctx, cpu_primitive **primitive, cpu_key key,
                                   const vmt_weight *w, const dnnl_memory_desc_t *wanted)
{
    static const int names[] = {DNNL_ARG_FROM, DNNL_ARG_TO};
    const int64_t *f = w->w.shape;
    const dnnl_dims_t filter = {f[0], f[1], f[2], f[3], f[4]};
    dnnl_engine_t engine = cpu_of(ctx)->engine;
    dnnl_memory_desc_t descs[2];
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status =
        dnnl_memory_desc_init_by_tag(&descs[0], 5, filter, wanted->data_type, dnnl_oidhw);

    key.word[0] = 3;
    descs[1] = *wanted;
    if (status == dnnl_success)
        status = cpu_attributes(&attributes, VMT_EPILOGUE_NONE, false);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&desc, &descs[0], engine, &descs[1], engine,
                                                    attributes);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    if (status != dnnl_success)
        return cpu_dnnl_fail(ctx, "filter of conv3d", status);
    return cpu_cache_add(ctx, primitive, &key, "filter of conv3d", desc, 2, names, descs, false);
}

static enum vmt_status get_conv(vmt_ctx *ctx, cpu_primitive **primitive, const vmt_tensor *y,
                                const vmt_tensor *x, const vmt_weight *w,
                                const vmt_conv_geometry *g)
{
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    const cpu_key key = conv_key(ctx, x, w, g);
    cpu_primitive *before = NULL;
    dnnl_memory_desc_t descs[4];
    dnnl_primitive_desc_t desc = NULL;

    *primitive = cpu_cache_find(cpu_of(ctx), &key);
    if (*primitive)
        return VMT_OK;
    const dnnl_status_t status = conv_desc(&desc, descs, y, x, w, g, cpu_of(ctx)->engine);
    if (status != dnnl_success)
        return cpu_dnnl_fail(ctx, "conv3d", status);
    const enum vmt_status made = get_reorder(ctx, &before, key, w, &descs[CONV_W]);
    if (made != VMT_OK) {
        dnnl_primitive_desc_destroy(desc);
        return made;
    }
    VMT_TRY(cpu_cache_add(ctx, primitive, &key, "conv3d", desc, w->bias.data ? 4 : 3, names, descs,
                          false));
    (*primitive)->before = before;
    return VMT_OK;
}

/* Cross-correlation, zeros around the frame, none in time.
 *   y: [To, Ho, Wo, Co] A; x: [T, H, W, Ci] A; w: [Co, Ci, kt, kh, kw].
 * No backward: the VAE is never differentiated. */
enum vmt_status cpu_conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           const vmt_conv_geometry *geometry)
{
    union {
        const void *in;
        void *any;
    } matrix, bias;
    cpu_primitive *conv = NULL;
    cpu_packed view;
    void *filter = NULL;

    if (!cpu_weight_view(ctx, w, &view))
        return vmt_ops_ref32.conv3d(ctx, y, x, w, geometry);
    cpu_limit_primitives(ctx);
    const int before = cpu_threads_begin(ctx->threads);
    enum vmt_status status = get_conv(ctx, &conv, y, x, w, geometry);
    if (status == VMT_OK)
        status = cpu_scratch(ctx, &filter, dnnl_memory_desc_get_size(&conv->descs[CONV_W]));
    if (status == VMT_OK) {
        matrix.in = view.matrix;
        bias.in = view.bias;
        dnnl_status_t ran =
            cpu_primitive_run(cpu_of(ctx), conv->before, 0, (void *[]){matrix.any, filter});
        if (ran == dnnl_success)
            ran = cpu_primitive_run(cpu_of(ctx), conv, 0,
                                    (void *[]){x->data, filter, y->data, bias.any});
        if (ran != dnnl_success)
            status = cpu_dnnl_fail(ctx, "conv3d", ran);
    }
    cpu_threads_end(before);
    return status;
}
