/* SPDX-License-Identifier: MIT */
#include "motion_fixture.h"

#include <string.h>

vmt_motion_settings motion_settings(enum vmt_variant variant)
{
    return (vmt_motion_settings){.variant = (int32_t)variant,
                                 .guided_steps = 10,
                                 .inner_steps = 10,
                                 .lr_first = 0.003f,
                                 .lr_last = 0.002f,
                                 .grad_reuse_interval = 3,
                                 .amf_window = 5,
                                 .amf_tile = {3, 4},
                                 .max_frame_gap = 3,
                                 .logit_scale = 1.0f,
                                 .amf_weight = 5.0f,
                                 .track_weight = 1.0f,
                                 .last_pair_weight = 0.8f,
                                 .weight_decay = 0.01f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.999f,
                                 .adam_eps = 1e-8f};
}

vmt_tensor motion_random(vmt_ctx *ctx, vmt_arena *arena, test_rng *rng, double scale, int rank,
                         const int64_t *shape)
{
    vmt_tensor t;

    CHECK_OK(ctx, vmt_take(ctx, arena, &t, ctx->real, rank, shape));
    for (int64_t i = 0; i < vmt_numel(&t); i++)
        motion_set(ctx, &t, i, 1.7 * scale * test_uniform(rng));
    return t;
}

vmt_arena motion_arena(vmt_ctx *ctx, size_t bytes)
{
    vmt_arena arena;

    CHECK_OK(ctx, vmt_arena_open(ctx, &arena, bytes));
    return arena;
}

static vmt_tensor single(const vmt_tensor *t, int64_t i)
{
    const vmt_tensor flat = vmt_reshape(t, VMT_SHAPE(vmt_numel(t)));

    return vmt_slice(&flat, i, 1);
}

double motion_get(vmt_ctx *ctx, const vmt_tensor *t, int64_t i)
{
    const vmt_tensor one = single(t, i);
    double value;
    vmt_tensor host = vmt_tensor_over(&value, VMT_F64, VMT_SHAPE(1));

    CHECK_OK(ctx, vmt_download(ctx, &host, &one));
    return value;
}

void motion_set(vmt_ctx *ctx, vmt_tensor *t, int64_t i, double value)
{
    vmt_tensor one = single(t, i);
    const vmt_tensor host = vmt_tensor_over(&value, VMT_F64, VMT_SHAPE(1));

    CHECK_OK(ctx, vmt_upload(ctx, &one, &host));
}

bool motion_equal(vmt_ctx *ctx, const vmt_tensor *a, const vmt_tensor *b)
{
    assert_true(vmt_same_shape(a, b));
    for (int64_t i = 0; i < vmt_numel(a); i++) {
        const double x = motion_get(ctx, a, i), y = motion_get(ctx, b, i);
        if (memcmp(&x, &y, sizeof(x)) != 0)
            return false;
    }
    return true;
}

static enum vmt_status fake_forward(void *self, vmt_taps *taps, const vmt_tensor *latent,
                                    float timestep, enum vmt_tap_text text, bool keep)
{
    fake_network *f = self;
    const vmt_tensor x = vmt_reshape(latent, 3, f->q.shape);
    const double gain = 1.0 + (double)timestep / 1000.0;

    f->forwards++;
    f->kept += keep;
    f->last_timestep = timestep;
    f->last_text = text;
    if (keep)
        f->gain = gain;
    VMT_TRY(vmt_lincomb(f->ctx, &f->q, &x, &x, gain, 0.0));
    VMT_TRY(vmt_lincomb(f->ctx, &f->k, &x, &f->ones, 0.7, text == VMT_TAP_EMPTY ? 0.3 : 0.1));
    taps->q = &f->q;
    taps->k = &f->k;
    f->hidden = vmt_reshape(&f->q, VMT_SHAPE(f->q.shape[0], f->q.shape[1] * f->q.shape[2]));
    taps->hidden = &f->hidden;
    f->velocity = vmt_reshape(&f->k, latent->rank, latent->shape);
    taps->velocity = &f->velocity;
    return VMT_OK;
}

static enum vmt_status fake_backward(void *self, vmt_tensor *dlatent, const vmt_taps *gradient)
{
    fake_network *f = self;
    vmt_tensor dx = vmt_reshape(dlatent, 3, f->q.shape);

    f->backwards++;
    if (gradient->hidden) {
        const vmt_tensor dhidden = vmt_reshape(gradient->hidden, 3, f->q.shape);
        return vmt_lincomb(f->ctx, &dx, &dhidden, &dhidden, f->gain, 0.0);
    }
    return vmt_lincomb(f->ctx, &dx, gradient->q, gradient->k, f->gain, 0.7);
}

void fake_network_init(vmt_ctx *ctx, vmt_arena *arena, fake_network *f, int64_t tokens,
                       int64_t heads, int64_t head_dim)
{
    vmt_tensor *const parts[] = {&f->q, &f->k, &f->ones};

    *f = (fake_network){.ctx = ctx};
    for (int i = 0; i < 3; i++)
        CHECK_OK(ctx,
                 vmt_take(ctx, arena, parts[i], ctx->real, VMT_SHAPE(tokens, heads, head_dim)));
    for (int64_t i = 0; i < vmt_numel(&f->ones); i++)
        motion_set(ctx, &f->ones, i, 1.0);
}

vmt_tap_model fake_network_tap(fake_network *f)
{
    return (vmt_tap_model){.self = f, .forward = fake_forward, .backward = fake_backward};
}
