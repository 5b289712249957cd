/* SPDX-License-Identifier: MIT
 *
 * The stream of frames against one pass over the whole clip, written here once more with the closed
 * forms of both temporal resamplers; and what the interface promises: frames that are dropped,
 * memory, progress, cancelling, errors.
 */
#include "vae/vae_net.h"
#include "vae/vae_tile.h"
#include "vae_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- one pass */

typedef struct one_pass {
    vmt_ctx *ctx;
    vmt_arena arena;
} one_pass;

static vmt_tensor take(one_pass *o, int64_t t, int64_t h, int64_t w, int64_t c)
{
    vmt_tensor y;

    CHECK_OK(o->ctx, vmt_take(o->ctx, &o->arena, &y, o->ctx->act, VMT_SHAPE(t, h, w, c)));
    CHECK_OK(o->ctx, vmt_zero(o->ctx, &y));
    return y;
}

static vmt_tensor take_like(one_pass *o, const vmt_tensor *x, int64_t channels)
{
    return take(o, x->shape[0], x->shape[1], x->shape[2], channels);
}

/* Two zero frames before x, then a convolution over all of time. */
static vmt_tensor whole_causal(one_pass *o, const vmt_tensor *x, const vmt_tensor *gamma,
                               const vmt_weight *w, int pad)
{
    const vmt_conv_geometry geometry = {1, 1, 1, pad, pad, pad, pad};
    vmt_tensor in = take(o, x->shape[0] + 2, x->shape[1], x->shape[2], x->shape[3]);
    vmt_tensor y = take_like(o, x, w->w.shape[0]);
    vmt_tensor rest = vmt_slice(&in, 2, x->shape[0]);

    if (gamma)
        CHECK_OK(o->ctx, vmt_rms_norm_channel(o->ctx, &rest, x, gamma, true));
    else
        CHECK_OK(o->ctx, vmt_copy(o->ctx, &rest, x));
    CHECK_OK(o->ctx, vmt_conv3d(o->ctx, &y, &in, w, &geometry));
    return y;
}

static vmt_tensor whole_linear(one_pass *o, const vmt_tensor *x, const vmt_weight *w)
{
    vmt_tensor y = take_like(o, x, w->w.shape[0]);
    const int64_t rows = vmt_numel(x) / x->shape[3];
    const vmt_tensor xr = vmt_reshape(x, VMT_SHAPE(rows, x->shape[3]));
    vmt_tensor yr = vmt_reshape(&y, VMT_SHAPE(rows, w->w.shape[0]));

    CHECK_OK(o->ctx, vmt_linear(o->ctx, &yr, &xr, w, VMT_EPILOGUE_NONE));
    return y;
}

static vmt_tensor whole_attention(one_pass *o, const vmt_tensor *x, const vmt_vae_part *part)
{
    const int64_t cells = x->shape[1] * x->shape[2], c = part->in;
    vmt_tensor normed = take_like(o, x, c), mixed = take_like(o, x, c), qkv[3];

    CHECK_OK(o->ctx, vmt_rms_norm_channel(o->ctx, &normed, x, &part->gamma[0], false));
    for (int j = 0; j < 3; j++)
        qkv[j] = whole_linear(o, &normed, &part->weight[j]);
    for (int64_t t = 0; t < x->shape[0]; t++) {
        vmt_tensor m = vmt_slice(&mixed, t, 1), f[3];
        m = vmt_reshape(&m, VMT_SHAPE(cells, 1, c));
        for (int j = 0; j < 3; j++) {
            f[j] = vmt_slice(&qkv[j], t, 1);
            f[j] = vmt_reshape(&f[j], VMT_SHAPE(cells, 1, c));
        }
        CHECK_OK(o->ctx,
                 vmt_attention(o->ctx, &m, NULL, &f[0], &f[1], &f[2], NULL, 1 / sqrt((double)c)));
    }
    vmt_tensor y = whole_linear(o, &mixed, &part->weight[3]);
    CHECK_OK(o->ctx, vmt_add(o->ctx, &y, &y, x));
    return y;
}

static vmt_tensor whole_res(one_pass *o, const vmt_tensor *x, const vmt_vae_part *part)
{
    vmt_tensor a = whole_causal(o, x, &part->gamma[0], &part->weight[0], 1);
    vmt_tensor y = whole_causal(o, &a, &part->gamma[1], &part->weight[1], 1);
    const vmt_tensor side = part->in == part->out ? *x : whole_linear(o, x, &part->weight[2]);

    CHECK_OK(o->ctx, vmt_add(o->ctx, &y, &side, &y));
    return y;
}

/* out[0] = x[0]; out[k] = conv(x[2k-2], x[2k-1], x[2k]): a convolution of stride 2 over the clip.
 */
static vmt_tensor whole_down(one_pass *o, const vmt_tensor *x, const vmt_vae_part *part)
{
    const vmt_conv_geometry half = {1, 2, 2, 0, 1, 0, 1}, skip = {2, 1, 1, 0, 0, 0, 0};
    vmt_tensor y = take(o, x->shape[0], x->shape[1] / 2, x->shape[2] / 2, part->out);

    CHECK_OK(o->ctx, vmt_conv3d(o->ctx, &y, x, &part->weight[0], &half));
    if (!part->time || x->shape[0] == 1)
        return y;
    vmt_tensor z = take(o, (x->shape[0] + 1) / 2, y.shape[1], y.shape[2], part->out);
    vmt_tensor first = vmt_slice(&z, 0, 1), rest = vmt_slice(&z, 1, z.shape[0] - 1);
    const vmt_tensor from = vmt_slice(&y, 0, 1);
    CHECK_OK(o->ctx, vmt_copy(o->ctx, &first, &from));
    CHECK_OK(o->ctx, vmt_conv3d(o->ctx, &rest, &y, &part->weight[1], &skip));
    return z;
}

static vmt_tensor whole_up(one_pass *o, const vmt_tensor *in, const vmt_vae_part *part)
{
    const vmt_conv_geometry same = {1, 1, 1, 1, 1, 1, 1};
    const int64_t frames = in->shape[0];
    vmt_tensor x = *in;

    if (part->time && frames > 1) {
        x = take(o, 2 * frames - 1, in->shape[1], in->shape[2], part->in);
        vmt_tensor first = vmt_slice(&x, 0, 1), rest = vmt_slice(&x, 1, 2 * frames - 2);
        const vmt_tensor from = vmt_slice(in, 0, 1), later = vmt_slice(in, 1, frames - 1);
        const vmt_tensor both = whole_causal(o, &later, NULL, &part->weight[1], 0);
        CHECK_OK(o->ctx, vmt_copy(o->ctx, &first, &from));
        CHECK_OK(o->ctx, vmt_split_frames(o->ctx, &rest, &both));
    }
    vmt_tensor big = take(o, x.shape[0], 2 * x.shape[1], 2 * x.shape[2], part->in);
    vmt_tensor y = take_like(o, &big, part->out);
    CHECK_OK(o->ctx, vmt_upsample2(o->ctx, &big, &x));
    CHECK_OK(o->ctx, vmt_conv3d(o->ctx, &y, &big, &part->weight[0], &same));
    return y;
}

static vmt_tensor whole_net(one_pass *o, vmt_tensor x, const vmt_vae_part *parts, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const vmt_vae_part *part = &parts[i];
        switch (part->kind) {
        case VMT_VAE_CONV:
            x = whole_causal(o, &x, NULL, &part->weight[0], 1);
            break;
        case VMT_VAE_RES:
            x = whole_res(o, &x, part);
            break;
        case VMT_VAE_ATTENTION:
            x = whole_attention(o, &x, part);
            break;
        case VMT_VAE_DOWN:
            x = whole_down(o, &x, part);
            break;
        case VMT_VAE_UP:
            x = whole_up(o, &x, part);
            break;
        case VMT_VAE_HEAD:
            x = whole_causal(o, &x, &part->gamma[0], &part->weight[0], 1);
            break;
        case VMT_VAE_POINT:
            x = whole_linear(o, &x, &part->weight[0]);
            break;
        }
    }
    return x;
}

/* ---------------------------------------------------------------- the stream collected */

typedef struct collected {
    float *data;
    int64_t count, frames;
} collected;

static enum vmt_status collect(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    collected *c = user;
    const int64_t n = vmt_numel(frame);

    c->data = realloc(c->data, sizeof(float) * (size_t)(c->count + n));
    assert_non_null(c->data);
    vmt_tensor host = vmt_tensor_over(c->data + c->count, VMT_F32, 4, frame->shape);
    CHECK_OK(ctx, vmt_download(ctx, &host, frame));
    c->count += n;
    c->frames++;
    return VMT_OK;
}

/* Frames of random values in -1 .. 1, [t, h, w, c]. */
static float *random_frames(int64_t count, uint64_t seed)
{
    test_rng rng = {seed};
    float *x = malloc(sizeof(float) * (size_t)count);

    assert_non_null(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)test_uniform(&rng);
    return x;
}

static void check_one_pass(const vae_fixture *f, enum vmt_vae_direction direction, int64_t frames,
                           int64_t h, int64_t w)
{
    vmt_ctx *ctx = f->ctx;
    collected got = {0};
    vmt_vae_net net = {.emit = collect, .user = &got};
    vmt_arena arena = vmt_arena_measure();
    one_pass o = {.ctx = ctx};

    CHECK_OK(ctx, vmt_vae_prepare(ctx, f->vae, direction));
    CHECK_OK(ctx, vmt_vae_net_layout(ctx, &arena, &net, f->vae, direction, h, w));
    CHECK_OK(ctx, vmt_arena_open(ctx, &arena, arena.peak));
    CHECK_OK(ctx, vmt_vae_net_layout(ctx, &arena, &net, f->vae, direction, h, w));
    CHECK_OK(ctx, vmt_vae_net_reset(ctx, &net));
    const int64_t in = net.parts[0].in;
    float *x = random_frames(frames * h * w * in, 7);
    for (int64_t t = 0; t < frames; t++) {
        const vmt_tensor host =
            vmt_tensor_over(x + t * h * w * in, VMT_F32, VMT_SHAPE(1, h, w, in));
        CHECK_OK(ctx, vmt_vae_net_push(ctx, &net, &host));
    }
    CHECK_OK(ctx, vmt_arena_open(ctx, &o.arena, (size_t)128 << 20));
    vmt_tensor whole = take(&o, frames, h, w, in);
    const vmt_tensor host = vmt_tensor_over(x, VMT_F32, VMT_SHAPE(frames, h, w, in));
    CHECK_OK(ctx, vmt_upload(ctx, &whole, &host));
    whole = whole_net(&o, whole, net.parts, net.count);
    assert_int_equal(whole.shape[0], got.frames);
    assert_int_equal(vmt_numel(&whole), got.count);
    float *expected = malloc(sizeof(float) * (size_t)got.count);
    assert_non_null(expected);
    vmt_tensor down = vmt_tensor_over(expected, VMT_F32, 4, whole.shape);
    CHECK_OK(ctx, vmt_download(ctx, &down, &whole));
    /* ref sums every output in one order, whatever the number of frames: equal to the bit. */
    assert_true(vae_distance(got.data, expected, got.count) == 0);
    free(expected);
    free(x);
    free(got.data);
    vmt_arena_close(ctx, &o.arena);
    vmt_arena_close(ctx, &arena);
}

static void test_encode_one_pass(void **state)
{
    static const int64_t lengths[] = {1, 5, 9, 21};
    vae_fixture f;

    (void)state;
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    for (int i = 0; i < 4; i++)
        check_one_pass(&f, VMT_VAE_ENCODE, lengths[i], 16, 24);
    vae_fixture_close(&f);
}

static void test_decode_one_pass(void **state)
{
    vae_fixture f;

    (void)state;
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    for (int64_t frames = 1; frames <= 5; frames++)
        check_one_pass(&f, VMT_VAE_DECODE, frames, 2, 3);
    /* 9 rows become 18 and 36: the last two enlargements go by strips, uneven ones too. */
    check_one_pass(&f, VMT_VAE_DECODE, 2, 9, 2);
    vae_fixture_close(&f);
}

/* ---------------------------------------------------------------- interface */

static void make_clip(uint8_t *bytes, int64_t count)
{
    test_rng rng = {99};

    for (int64_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((test_uniform(&rng) + 1) * 127.9);
}

/* Frames beyond 1 + 4k change nothing; fewer frames give a prefix. */
static void test_dropped_frames(void **state)
{
    enum { H = 16, W = 16, CELLS = 4 };
    static const int64_t lengths[] = {5, 6, 7, 8, 9, 10, 12};
    uint8_t bytes[12 * H * W * 3];
    float full[16 * 3 * CELLS], part[16 * 3 * CELLS];
    vmt_vae_clip clip = {.bytes = bytes, .frames = 9, .height = H, .width = W};
    vae_fixture f;

    (void)state;
    make_clip(bytes, sizeof bytes);
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, full, &clip, NULL));
    for (int i = 0; i < 7; i++) {
        const int64_t latents = 1 + (lengths[i] - 1) / 4;
        clip.frames = lengths[i];
        CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, part, &clip, NULL));
        for (int64_t c = 0; c < 16; c++)
            assert_memory_equal(part + c * latents * CELLS, full + c * 3 * CELLS,
                                sizeof(float) * (size_t)(latents * CELLS));
    }
    vae_fixture_close(&f);
}

static void test_bytes(void **state)
{
    const float x[] = {-1.5f, -1, -0.9961f, 0, 0.5f, 0.99f, 1, 7, 127.0f * (float)(2.0 / 255) - 1};
    const uint8_t expected[] = {0, 0, 0, 127, 191, 253, 255, 255, 127};
    uint8_t bytes[9];

    (void)state;
    vmt_vae_to_bytes(bytes, x, 9);
    for (int i = 0; i < 8; i++)
        assert_int_equal(bytes[i], expected[i]);
    /* Not the identity: truncation may lose a level, never two. */
    assert_in_range(bytes[8], expected[8] - 1, expected[8]);
}

/* A clip given as bytes equals the same clip as planes of float32(byte * step) - 1. */
static void test_bytes_or_planes(void **state)
{
    enum { T = 5, H = 8, W = 16 };
    uint8_t bytes[T * H * W * 3];
    float planes[3 * T * H * W], a[16 * 2 * 2], b[16 * 2 * 2];
    const vmt_vae_clip of_bytes = {.bytes = bytes, .frames = T, .height = H, .width = W};
    const vmt_vae_clip of_planes = {.planes = planes, .frames = T, .height = H, .width = W};
    const float step = 0x1.010102p-7f; /* float32(2/255) */
    vae_fixture f;

    (void)state;
    make_clip(bytes, sizeof bytes);
    for (int64_t i = 0; i < T * H * W; i++)
        for (int64_t c = 0; c < 3; c++) {
            const volatile float scaled = (float)bytes[i * 3 + c] * step;
            planes[c * T * H * W + i] = scaled - 1;
        }
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, a, &of_bytes, NULL));
    CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, b, &of_planes, NULL));
    assert_memory_equal(a, b, sizeof a);
    vae_fixture_close(&f);
}

static void test_decode_bytes(void **state)
{
    uint8_t bytes[5 * 16 * 24 * 3];
    vae_fixture f;

    (void)state;
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    float *z = random_frames(16 * 2 * 2 * 3, 3);
    const vmt_vae_sink sink = {.bytes = bytes};
    const vmt_tensor latent = vmt_tensor_over(z, VMT_F32, VMT_SHAPE(1, 16, 2, 2, 3));
    CHECK_OK(f.ctx, vmt_vae_decode(f.ctx, f.vae, &sink, z, 2, 2, 3, NULL));
    float *planes = vae_decode(&f, &latent, NULL);
    for (int64_t i = 0; i < 5 * 16 * 24; i++)
        for (int64_t c = 0; c < 3; c++) {
            uint8_t expected;
            vmt_vae_to_bytes(&expected, &planes[c * 5 * 16 * 24 + i], 1);
            assert_int_equal(bytes[i * 3 + c], expected);
        }
    free(planes);
    free(z);
    vae_fixture_close(&f);
}

/* Memory of a clip does not grow with its length, and at the official size it is what the state of
 * two frames per causal convolution makes necessary (2139 and 3602 MiB), plus per row of slots the
 * new frame and the slack, plus three regions. */
static void test_memory(void **state)
{
    const vmt_vae_options tiles = {.tile = {30, 52}, .blend = true, .stride = {15, 26}};
    const vmt_vae_options exact = {.tile = {20, 26}};
    vmt_ctx *ctx = test_ctx_open("ref", "f32");
    struct vmt_vae vae = {.config = vae_official_config(96)};
    size_t short_clip, long_clip, tiled;

    (void)state;
    vmt_vae_list_parts(&vae);
    CHECK_OK(ctx, vmt_vae_encode_bytes(ctx, &vae, 1, 480, 832, NULL, &short_clip));
    CHECK_OK(ctx, vmt_vae_encode_bytes(ctx, &vae, 801, 480, 832, NULL, &long_clip));
    print_message("encode 832x480: %.0f MiB\n", (double)long_clip / 0x1p20);
    assert_true(short_clip == long_clip);
    assert_in_range(long_clip >> 20, 2139, 2139 + 1000);
    CHECK_OK(ctx, vmt_vae_decode_bytes(ctx, &vae, 1, 60, 104, NULL, &short_clip));
    CHECK_OK(ctx, vmt_vae_decode_bytes(ctx, &vae, 201, 60, 104, NULL, &long_clip));
    print_message("decode 832x480: %.0f MiB\n", (double)long_clip / 0x1p20);
    assert_true(short_clip == long_clip);
    assert_in_range(long_clip >> 20, 3602, 3602 + 1200);
    CHECK_OK(ctx, vmt_vae_decode_bytes(ctx, &vae, 21, 60, 104, &tiles, &tiled));
    print_message("decode 832x480, 81 frames, tiled: %.0f MiB\n", (double)tiled / 0x1p20);
    assert_true(tiled < long_clip / 2);
    CHECK_OK(ctx, vmt_vae_decode_bytes(ctx, &vae, 21, 60, 104, &exact, &tiled));
    print_message("decode 832x480, 81 frames, in exact tiles: %.0f MiB\n", (double)tiled / 0x1p20);
    assert_true(tiled < long_clip / 2);
    CHECK_OK(ctx, vmt_vae_encode_bytes(ctx, &vae, 81, 480, 832, &exact, &tiled));
    print_message("encode 832x480, 81 frames, in exact tiles: %.0f MiB\n", (double)tiled / 0x1p20);
    assert_true(tiled < 2139 << 19);
    test_ctx_close(ctx);
}

typedef struct progress_log {
    int64_t calls, total, stop_at;
} progress_log;

static enum vmt_status count_progress(vmt_ctx *ctx, void *user, int64_t done, int64_t total)
{
    progress_log *log = user;

    assert_int_equal(done, ++log->calls);
    log->total = total;
    if (done == log->stop_at)
        vmt_cancel(ctx);
    return VMT_OK;
}

static void test_progress_and_cancel(void **state)
{
    progress_log log = {0};
    vmt_vae_options options = {
        .tile = {2, 2}, .blend = true, .stride = {1, 2}, .progress = count_progress, .user = &log};
    uint8_t bytes[5 * 24 * 24 * 3];
    float latent[16 * 2 * 3 * 3];
    const vmt_vae_clip clip = {.bytes = bytes, .frames = 5, .height = 24, .width = 24};
    const vmt_vae_sink sink = {0};
    vae_fixture f;

    (void)state;
    make_clip(bytes, sizeof bytes);
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, latent, &clip, &options));
    assert_int_equal(log.calls, 2 * 2 * 2); /* rows 0, 1; columns 0, 2; latent frames */
    assert_int_equal(log.total, log.calls);
    log = (progress_log){.stop_at = 1};
    options = (vmt_vae_options){.progress = count_progress, .user = &log};
    assert_int_equal(vmt_vae_decode(f.ctx, f.vae, &sink, latent, 2, 3, 3, &options),
                     VMT_E_CANCELLED);
    assert_int_equal(log.calls, 1);
    assert_int_equal(log.total, 2);
    vae_fixture_close(&f);
}

static void expect_failure(vmt_ctx *ctx, enum vmt_status status, enum vmt_status expected,
                           const char *text)
{
    assert_int_equal(status, expected);
    if (!strstr(ctx->message, text))
        fail_msg("message \"%s\" does not say \"%s\"", ctx->message, text);
}

static void test_errors(void **state)
{
    uint8_t bytes[2 * 16 * 16 * 3] = {0};
    float planes[3 * 16 * 16] = {0}, latent[16 * 2 * 2 * 2] = {0};
    vmt_vae_clip clip = {.bytes = bytes, .frames = 1, .height = 12, .width = 16};
    const vmt_vae_sink sink = {0};
    vmt_vae_options tiles = {.tile = {2, 2}, .blend = true, .stride = {2, 3}};
    vmt_vae_config config = vae_official_config(4);
    vmt_vae *other = NULL;
    vae_fixture f;

    (void)state;
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    vmt_ctx *ctx = f.ctx;
    expect_failure(ctx, vmt_vae_encode(ctx, f.vae, latent, &clip, NULL), VMT_E_ARG, "16x12");
    clip = (vmt_vae_clip){.bytes = bytes, .frames = 0, .height = 16, .width = 16};
    expect_failure(ctx, vmt_vae_encode(ctx, f.vae, latent, &clip, NULL), VMT_E_ARG, "0 frames");
    clip.frames = 1;
    expect_failure(ctx, vmt_vae_encode(ctx, f.vae, latent, &clip, &tiles), VMT_E_ARG, "stride 3");
    tiles.blend = false;
    expect_failure(ctx, vmt_vae_encode(ctx, f.vae, latent, &clip, &tiles), VMT_E_ARG,
                   "exact tiles have none");
    expect_failure(ctx, vmt_vae_decode(ctx, f.vae, &sink, latent, 0, 2, 2, NULL), VMT_E_ARG,
                   "0 latent frames");

    planes[5] = NAN;
    clip = (vmt_vae_clip){.planes = planes, .frames = 1, .height = 16, .width = 16};
    expect_failure(ctx, vmt_vae_encode(ctx, f.vae, latent, &clip, NULL), VMT_E_NUMERIC,
                   "VAE encode: latent frame 0");
    memset(latent, 0, sizeof latent);
    latent[7] = INFINITY; /* channel 0, frame 1 */
    expect_failure(ctx, vmt_vae_decode(ctx, f.vae, &sink, latent, 2, 2, 2, NULL), VMT_E_NUMERIC,
                   "VAE decode: latent frame 1");
    latent[7] = 3e38f; /* finite, but its square is not */
    expect_failure(ctx, vmt_vae_decode(ctx, f.vae, &sink, latent, 2, 2, 2, NULL), VMT_E_NUMERIC,
                   "VAE decode: frame 1");

    config.dim = 8;
    expect_failure(ctx, vmt_vae_open(ctx, &other, f.weights, &config), VMT_E_MODEL, "VAE");
    config = vae_official_config(4);
    config.res_blocks = 9;
    expect_failure(ctx, vmt_vae_open(ctx, &other, f.weights, &config), VMT_E_MODEL, "9 residual");
    assert_null(other);
    vae_fixture_close(&f);
}

/* The published tiling of 832x480: starts 0, 15, 30 by 0, 26, 52; every cell is covered. */
static void test_axis(void **state)
{
    static const int64_t cases[][4] = {
        /* cells, tile, stride, tiles */
        {60, 30, 15, 3}, {104, 52, 26, 3}, {61, 30, 15, 4}, {30, 30, 15, 1},
        {10, 30, 15, 1}, {31, 30, 15, 2},  {6, 4, 2, 2},    {10, 6, 3, 3},
        {7, 3, 1, 5},    {9, 3, 3, 3},     {5, 0, 0, 1},
    };
    vmt_ctx *ctx = test_ctx_open("ref", "f32");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *c = cases[i];
        float ramp[128], sum[128] = {0};
        vmt_vae_axis axis;
        CHECK_OK(ctx, vmt_vae_axis_init(ctx, &axis, "rows", c[0], c[1], c[2]));
        assert_int_equal(axis.tiles, c[3]);
        for (int64_t t = 0; t < axis.tiles; t++) {
            const int64_t first = vmt_vae_axis_first(&axis, t);
            const int64_t count = vmt_vae_axis_count(&axis, t);
            assert_true(count >= 1 && first + count <= c[0]);
            vmt_vae_axis_ramp(&axis, t, 1, ramp);
            for (int64_t j = 0; j < count; j++) {
                assert_true(ramp[j] > 0 && ramp[j] <= 1);
                sum[first + j] += ramp[j];
            }
        }
        for (int64_t j = 0; j < c[0]; j++)
            assert_true(sum[j] > 0);
        assert_true(sum[0] >= 1 && sum[c[0] - 1] >= 1); /* no ramp at the frame's border */
    }
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_one_pass), cmocka_unit_test(test_decode_one_pass),
        cmocka_unit_test(test_dropped_frames),  cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bytes_or_planes), cmocka_unit_test(test_decode_bytes),
        cmocka_unit_test(test_memory),          cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_axis),
    };

    return cmocka_run_group_tests_name("vae_stream", tests, NULL, NULL);
}
