/* SPDX-License-Identifier: MIT
 *
 * Case kind "features": what the methods beside FastVMT make of given taps.
 *   in.q, in.k [1, N, heads, head_dim]    dense and top-k flow of near frames against in.ref
 * [pairs, tokens, 2]; DiTFlow's, whose reference is of q, k swapped in.hid_ref, in.hid [f, h, w, C]
 * SMM and MOFT Losses are as papers write them: 5 times the flow distance, else means over all
 * elements, by which this program's distances differ in a factor (docs/methods.md).
 */
#include "probe/probe.h"

#include "motion/guidance.h"
#include "motion/moft.h"

#include <string.h>

typedef struct feature_case {
    vmt_probe_case *c;
    int64_t grid[3], heads, head_dim, dim;
    vmt_motion_settings settings;
    vmt_arena arena;
    vmt_guidance guidance;
    vmt_tensor taps[4]; /* q, k [N, heads, head_dim] A; hidden of the reference, hidden [N, C] R */
    vmt_tensor reference;
} feature_case;

enum { Q, K, HIDDEN_REF, HIDDEN };

/* ---- one method, its memory and its inputs */

static enum vmt_status layout(vmt_ctx *ctx, feature_case *f)
{
    const int64_t tokens = f->grid[0] * f->grid[1] * f->grid[2];
    const bool hidden = f->dim > 0;
    vmt_arena *a = &f->arena;

    VMT_TRY(vmt_guidance_layout(ctx, a, &f->guidance, &f->settings, f->grid, hidden ? 1 : f->heads,
                                hidden ? f->dim : f->head_dim, 4, (int64_t[]){1, 1, 1, 1}));
    for (int i = hidden ? HIDDEN_REF : Q; i <= (hidden ? HIDDEN : K); i++) {
        if (hidden)
            VMT_TRY(vmt_take(ctx, a, &f->taps[i], ctx->real, VMT_SHAPE(tokens, f->dim)));
        else
            VMT_TRY(
                vmt_take(ctx, a, &f->taps[i], ctx->act, VMT_SHAPE(tokens, f->heads, f->head_dim)));
    }
    return vmt_take(ctx, a, &f->reference, ctx->real, f->guidance.features.rank,
                    f->guidance.features.axes);
}

static enum vmt_status load(vmt_ctx *ctx, feature_case *f, int tap)
{
    static const char *const names[] = {"q", "k", "hid_ref", "hid"};
    const vmt_tensor *in;

    VMT_TRY(vmt_probe_input(ctx, f->c, names[tap], VMT_F32, 4, &in));
    if (vmt_numel(in) != vmt_numel(&f->taps[tap]) ||
        in->shape[3] != f->taps[tap].shape[f->taps[tap].rank - 1])
        return vmt_fail(ctx, VMT_E_FORMAT, "in.%s does not fit grid, heads, head_dim", names[tap]);
    const vmt_tensor host = vmt_reshape(in, f->taps[tap].rank, f->taps[tap].shape);
    return vmt_upload(ctx, &f->taps[tap], &host);
}

/* Opens `method` with its inputs there; weight: of its distance.  Close the arena in any case. */
static enum vmt_status open_method(vmt_ctx *ctx, feature_case *f, enum vmt_method method,
                                   double weight)
{
    const bool hidden = method == VMT_METHOD_SMM || method == VMT_METHOD_MOFT;
    const vmt_tensor *in;

    f->settings.method = method;
    f->settings.amf_weight = (float)weight;
    f->dim = 0;
    if (hidden) {
        VMT_TRY(vmt_probe_input(ctx, f->c, "hid", VMT_F32, 4, &in));
        f->dim = in->shape[3];
    }
    f->arena = vmt_arena_measure();
    VMT_TRY(layout(ctx, f));
    VMT_TRY(vmt_arena_open(ctx, &f->arena, f->arena.peak));
    VMT_TRY(layout(ctx, f));
    for (int i = hidden ? HIDDEN_REF : Q; i <= (hidden ? HIDDEN : K); i++)
        VMT_TRY(load(ctx, f, i));
    return VMT_OK;
}

/* The gradient against f->reference, in the method's memory. */
static enum vmt_status gradient(vmt_ctx *ctx, feature_case *f)
{
    vmt_guidance *g = &f->guidance;
    const vmt_motion_reference reference = {.features = &f->reference, .weight = 1.0};
    const vmt_guided_step step = {.references = &reference, .reference_count = 1};
    const vmt_taps taps = {.q = &f->taps[Q], .k = &f->taps[K], .hidden = &f->taps[HIDDEN]};
    vmt_taps at = {0};

    VMT_TRY(vmt_zero(ctx, &g->amf_loss));
    VMT_TRY(vmt_zero(ctx, &g->track_loss));
    if (g->method->begin)
        VMT_TRY(g->method->begin(ctx, g, &step));
    VMT_TRY(g->method->gradient(ctx, g, &at, &taps, &step));
    return vmt_lincomb(ctx, &g->amf_loss, &g->amf_loss, &g->amf_loss,
                       (double)f->settings.amf_weight, 0.0);
}

/* ---- flows */

static enum vmt_status emit_flow_gradients(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const vmt_tensor *const made[] = {&f->guidance.flow.dq, &f->guidance.flow.dk};
    const vmt_tensor *t = made[0];

    VMT_TRY(vmt_probe_emit(ctx, f->c, &f->guidance.amf_loss, 0, NULL, "out.%s.loss", name));
    for (int i = 0; i < 2; i++)
        VMT_TRY(vmt_probe_emit(ctx, f->c, made[i],
                               VMT_SHAPE(1, t->shape[0], t->shape[1], t->shape[2]),
                               "out.%s.grad_%c", name, i ? 'k' : 'q'));
    return VMT_OK;
}

static enum vmt_status near_flow(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const vmt_tensor *ref;

    VMT_TRY(vmt_probe_input(ctx, f->c, "ref", VMT_F32, 3, &ref));
    if (!vmt_same_shape(ref, &f->reference))
        return vmt_fail(ctx, VMT_E_FORMAT, "in.ref must be [pairs, tokens, 2]");
    VMT_TRY(vmt_upload(ctx, &f->reference, ref));
    VMT_TRY(gradient(ctx, f));
    const vmt_tensor *flow = &f->guidance.flow.flow;
    VMT_TRY(vmt_probe_emit(ctx, f->c, flow, 3, flow->shape, "out.%s.flow", name));
    return emit_flow_gradients(ctx, f, name);
}

/* The case has columns first, as DiTFlow. */
static enum vmt_status emit_columns_first(vmt_ctx *ctx, feature_case *f, const vmt_tensor *flow,
                                          const char *name)
{
    const int64_t count = vmt_numel(flow);
    float *values;

    VMT_TRY(vmt_alloc(ctx, (void **)&values, (size_t)count, sizeof *values));
    vmt_tensor host = vmt_tensor_over(values, VMT_F32, 3, flow->shape);
    enum vmt_status status = vmt_download(ctx, &host, flow);
    for (int64_t i = 0; i < count && status == VMT_OK; i += 2) {
        const float row = values[i];
        values[i] = values[i + 1];
        values[i + 1] = row;
    }
    if (status == VMT_OK)
        status = vmt_probe_emit_host(ctx, f->c, &host, "out.ditflow.%s", name);
    vmt_free(values);
    return status;
}

static enum vmt_status ditflow(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const vmt_taps swapped = {.q = &f->taps[K], .k = &f->taps[Q]};

    VMT_TRY(f->guidance.method->reference(ctx, &f->guidance, &f->reference, &swapped));
    VMT_TRY(emit_columns_first(ctx, f, &f->reference, "hard"));
    VMT_TRY(gradient(ctx, f));
    VMT_TRY(emit_columns_first(ctx, f, &f->guidance.flow.flow, "soft"));
    return emit_flow_gradients(ctx, f, name);
}

/* ---- hidden states */

static enum vmt_status hidden_gradient(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const vmt_taps taps = {.hidden = &f->taps[HIDDEN_REF]};

    VMT_TRY(f->guidance.method->reference(ctx, &f->guidance, &f->reference, &taps));
    VMT_TRY(gradient(ctx, f));
    VMT_TRY(vmt_probe_emit(ctx, f->c, &f->guidance.amf_loss, 0, NULL, "out.%s.loss", name));
    return vmt_probe_emit(ctx, f->c, &f->guidance.hidden.dhidden,
                          VMT_SHAPE(f->grid[0], f->grid[1], f->grid[2], f->dim), "out.%s.grad",
                          name);
}

/* Features [rows, from] of the reference with column columns[i] at i, as a tensor of `shape`. */
static enum vmt_status emit_columns(vmt_ctx *ctx, feature_case *f, const int64_t *columns,
                                    int64_t count, int rank, const int64_t *shape, const char *name)
{
    const int64_t rows = shape[0], from = f->reference.shape[1];
    float *memory;

    VMT_TRY(vmt_alloc(ctx, (void **)&memory, (size_t)(vmt_numel(&f->reference) + rows * count),
                      sizeof *memory));
    vmt_tensor whole = vmt_tensor_over(memory, VMT_F32, 2, f->reference.shape);
    float *const part = memory + vmt_numel(&f->reference);
    const vmt_tensor host = vmt_tensor_over(part, VMT_F32, rank, shape);
    enum vmt_status status = vmt_download(ctx, &whole, &f->reference);
    for (int64_t i = 0; i < rows * count; i++)
        part[i] = memory[i / count * from + columns[i % count]];
    if (status == VMT_OK)
        status = vmt_probe_emit_host(ctx, f->c, &host, "out.%s.ref", name);
    vmt_free(memory);
    return status;
}

/* The case has channels before cells. */
static enum vmt_status smm(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const int64_t side = f->settings.smm_pool, cells = side * side, count = cells * f->dim;
    int64_t *columns;

    VMT_TRY(hidden_gradient(ctx, f, name));
    VMT_TRY(vmt_alloc(ctx, (void **)&columns, (size_t)count, sizeof *columns));
    for (int64_t i = 0; i < count; i++)
        columns[i] = i % cells * f->dim + i / cells;
    const enum vmt_status status =
        emit_columns(ctx, f, columns, count, VMT_SHAPE(f->grid[0] - 1, f->dim, side, side), name);
    vmt_free(columns);
    return status;
}

static enum vmt_status moft(vmt_ctx *ctx, feature_case *f, const char *name)
{
    const int64_t count = vmt_moft_count((double)f->settings.moft_channels, f->dim);
    int64_t *channels;

    VMT_TRY(hidden_gradient(ctx, f, name));
    VMT_TRY(vmt_alloc(ctx, (void **)&channels, (size_t)count, sizeof *channels));
    const vmt_tensor host = vmt_tensor_over(channels, VMT_I64, VMT_SHAPE(count));
    enum vmt_status status = vmt_hidden_moved(ctx, &f->guidance.hidden, &f->taps[HIDDEN_REF]);
    if (status == VMT_OK)
        status = vmt_moft_choose(ctx, channels, count, &f->guidance.hidden.moved);
    if (status == VMT_OK)
        status = vmt_probe_emit_host(ctx, f->c, &host, "out.moft.channels");
    if (status == VMT_OK)
        status = emit_columns(ctx, f, channels, count, VMT_SHAPE(f->grid[0] - 1, count), name);
    vmt_free(channels);
    return status;
}

/* ---- the case */

static enum vmt_status read_constants(vmt_ctx *ctx, feature_case *f)
{
    const vmt_tensor_file *file = f->c->file;
    int64_t span, top, side;
    double share;

    VMT_TRY(vmt_probe_meta_sizes(ctx, f->c, "grid", f->grid, 3));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "heads", NULL, &f->heads));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "head_dim", NULL, &f->head_dim));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "span", NULL, &span));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "topk", NULL, &top));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "pool", NULL, &side));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, file, "ratio", NULL, &share));
    for (int i = 0; i < 3; i++)
        if (f->grid[i] < 1 || f->grid[i] > 1 << 12)
            return vmt_fail(ctx, VMT_E_FORMAT, "metadata \"grid\": sizes must be 1 to 4096");
    if (f->heads < 1 || f->heads > 1 << 12 || f->head_dim < 1 || f->head_dim > 1 << 12 ||
        span < 1 || span > 1 << 12 || top < 1 || top > 1 << 20 || side < 2 || side > 64 ||
        !(share > 0 && share <= 1))
        return vmt_fail(ctx, VMT_E_FORMAT, "a constant of the case is out of range");
    f->settings = (vmt_motion_settings){.grad_reuse_interval = 1,
                                        .adam_eps = 1e-8f,
                                        .amf_tile = {1, 1},
                                        .max_frame_gap = (int32_t)span,
                                        .last_pair_weight = 0.8f,
                                        .top_k = (int32_t)top,
                                        .smm_pool = (int32_t)side,
                                        .moft_channels = (float)share};
    return VMT_OK;
}

enum vmt_status vmt_probe_features(vmt_ctx *ctx, vmt_probe_case *c)
{
    feature_case f = {.c = c};
    const vmt_tensor *hidden;

    VMT_TRY(read_constants(ctx, &f));
    VMT_TRY(vmt_probe_input(ctx, c, "hid", VMT_F32, 4, &hidden));
    const double cells = (double)f.settings.smm_pool * (double)f.settings.smm_pool;
    const double channels = (double)hidden->shape[3];
    const int64_t kept = vmt_moft_count((double)f.settings.moft_channels, hidden->shape[3]);
    const struct {
        const char *name;
        enum vmt_method method;
        enum vmt_status (*run)(vmt_ctx *, feature_case *, const char *);
        double weight, logit_scale;
    } methods[] = {
        {"dense", VMT_METHOD_FASTVMT, near_flow, 5, 1},
        {"topk", VMT_METHOD_MOTIONCLONE, near_flow, 5, 1},
        {"ditflow", VMT_METHOD_DITFLOW, ditflow, 0.5 / (double)(f.grid[1] * f.grid[2]), 2},
        {"smm", VMT_METHOD_SMM, smm, 1 / (cells * channels), 1},
        {"moft", VMT_METHOD_MOFT, moft, 1 / (double)kept, 1},
    };

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        f.settings.logit_scale = (float)methods[i].logit_scale;
        enum vmt_status status = open_method(ctx, &f, methods[i].method, methods[i].weight);
        if (status == VMT_OK)
            status = methods[i].run(ctx, &f, methods[i].name);
        vmt_arena_close(ctx, &f.arena);
        VMT_TRY(vmt_prefix(ctx, status, "%s", methods[i].name));
    }
    return VMT_OK;
}
