/* SPDX-License-Identifier: MIT
 *
 * Exact tiles against whole frames: equal bits where a backend's sums do not depend on a frame's
 * size, else equal within rounding; odd sizes, odd tiles, both directions, what the interface
 * promises.
 */
#include "vae/vae_net.h"
#include "vae_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 17, COLS = 21, LATENTS = 2, FRAMES = 5, Z = 16 };
enum {
    LATENT = Z * LATENTS * ROWS * COLS,
    PIXELS = FRAMES * ROWS * 8 * COLS * 8 * 3 /* also the floats of a decoded clip */
};

/* A tile's edge has to lie further from the frame's than what it sees: 7 cells. */
static const vmt_vae_options tilings[] = {
    {.tile = {9, 8}},
    {.tile = {0, 13}},
    {.tile = {7, 0}},
};

enum { TILINGS = sizeof tilings / sizeof *tilings };

typedef struct decoded {
    float *planes;
    int64_t index;
} decoded;

static enum vmt_status store_frame(vmt_ctx *ctx, void *user, int64_t index, const float *rgb)
{
    decoded *d = user;
    const int64_t count = PIXELS / FRAMES;

    (void)ctx;
    assert_int_equal(index, d->index++);
    memcpy(d->planes + index * count, rgb, sizeof *rgb * (size_t)count);
    return VMT_OK;
}

typedef struct clips {
    float *latent, *frames; /* coded and decoded */
    uint8_t *bytes;
} clips;

static clips clips_new(void)
{
    const clips c = {malloc(sizeof(float) * LATENT), malloc(sizeof(float) * PIXELS),
                     malloc(PIXELS)};

    assert_true(c.latent && c.frames && c.bytes);
    return c;
}

static void clips_free(clips *c)
{
    free(c->latent);
    free(c->frames);
    free(c->bytes);
}

/* Encodes `pixels`, decodes `latent`. */
static void code(const vae_fixture *f, clips *c, const uint8_t *pixels, const float *latent,
                 const vmt_vae_options *options)
{
    const vmt_vae_clip clip = {
        .bytes = pixels, .frames = FRAMES, .height = 8 * ROWS, .width = 8 * COLS};
    decoded d = {.planes = c->frames};
    const vmt_vae_sink both = {.bytes = c->bytes, .frame = store_frame, .user = &d};

    CHECK_OK(f->ctx, vmt_vae_encode(f->ctx, f->vae, c->latent, &clip, options));
    CHECK_OK(f->ctx, vmt_vae_decode(f->ctx, f->vae, &both, latent, LATENTS, ROWS, COLS, options));
    assert_int_equal(d.index, FRAMES);
}

static double largest(const float *x, int64_t count)
{
    double most = 0;

    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

/* count: of the tilings; tolerance: of the largest value; 0: equal bits. */
static void check(const char *backend, const char *dtype, int count, double tolerance)
{
    static uint8_t pixels[PIXELS];
    static float latent[LATENT];
    test_rng rng = {7};
    vae_fixture f;
    double worst = 0;

    if (!vae_backend_exists(backend))
        skip();
    vae_fixture_open(&f, backend, dtype, "vae_a.weights.safetensors");
    for (int i = 0; i < PIXELS; i++)
        pixels[i] = (uint8_t)(128 + 127 * test_uniform(&rng));
    for (int i = 0; i < LATENT; i++)
        latent[i] = (float)test_uniform(&rng);
    clips whole = clips_new(), tiled = clips_new();
    code(&f, &whole, pixels, latent, NULL);
    for (int i = 0; i < count; i++) {
        code(&f, &tiled, pixels, latent, &tilings[i]);
        worst = fmax(worst, vae_distance(whole.latent, tiled.latent, LATENT) /
                                largest(whole.latent, LATENT));
        worst = fmax(worst, vae_distance(whole.frames, tiled.frames, PIXELS) /
                                largest(whole.frames, PIXELS));
        if (tolerance > 0)
            continue;
        assert_memory_equal(whole.latent, tiled.latent, sizeof(float) * LATENT);
        assert_memory_equal(whole.frames, tiled.frames, sizeof(float) * PIXELS);
        assert_memory_equal(whole.bytes, tiled.bytes, PIXELS);
        /* bytes alone, which go to the sink tile by tile */
        const vmt_vae_sink bytes = {.bytes = tiled.bytes};
        memset(tiled.bytes, 0, PIXELS);
        CHECK_OK(f.ctx,
                 vmt_vae_decode(f.ctx, f.vae, &bytes, latent, LATENTS, ROWS, COLS, &tilings[i]));
        assert_memory_equal(whole.bytes, tiled.bytes, PIXELS);
    }
    print_message("%s %s: largest difference %.3g of the largest value\n", backend, dtype, worst);
    assert_true(worst <= tolerance);
    clips_free(&whole);
    clips_free(&tiled);
    vae_fixture_close(&f);
}

static void exact_on_ref(void **state)
{
    (void)state;
    check("ref", "f32", 1, 0);
}

static void exact_on_ref64(void **state)
{
    (void)state;
    check("ref64", NULL, 1, 0);
}

/* oneDNN may choose another order of sums for another size; here it gave equal bits. */
static void exact_on_cpu(void **state)
{
    (void)state;
    check("cpu", "f32", TILINGS, 1e-5);
}

static void exact_on_cpu_bf16(void **state)
{
    (void)state;
    check("cpu", "bf16", TILINGS, 0.05);
}

/* ---- what a window needs */

static void check_range(vmt_vae_range range, int64_t first, int64_t end)
{
    assert_int_equal(range.first, first);
    assert_int_equal(range.end, end);
}

/* By hand: RES 2 pixels each side, UP 1 of the enlarged frame, HEAD 1. */
static void windows(void **state)
{
    const vmt_vae_part up[] = {{.kind = VMT_VAE_UP}, {.kind = VMT_VAE_RES}, {.kind = VMT_VAE_HEAD}};
    const vmt_vae_part down[] = {{.kind = VMT_VAE_CONV}, {.kind = VMT_VAE_DOWN}};
    const vmt_vae_range middle[2] = {{20, 30}, {0, 17}};
    vmt_vae_window w;

    (void)state;
    vmt_vae_window_make(&w, up, 3, 50, 10, middle, 1);
    check_range(w.need[3][0], 20, 30);
    check_range(w.need[2][0], 19, 31);
    check_range(w.need[1][0], 17, 33);
    check_range(w.need[0][0], 8, 17); /* enlarged rows 16..33 */
    check_range(w.need[2][1], 0, 18);
    check_range(w.need[0][1], 0, 10); /* columns up to 21, but 20 there are */
    vmt_vae_window_make(&w, down, 2, 80, 34, middle, 8);
    check_range(w.need[1][0], 40, 61);
    check_range(w.need[0][0], 32, 64); /* 39..61, whole cells */
    check_range(w.need[0][1], 0, 34);
}

static enum vmt_status count_calls(vmt_ctx *ctx, void *user, int64_t done, int64_t total)
{
    int64_t *calls = user;

    (void)ctx;
    assert_int_equal(done, ++*calls);
    assert_int_equal(total, LATENTS * (2 * 2 + 1)); /* four tiles and the whole frames */
    return VMT_OK;
}

static void progress_and_memory(void **state)
{
    static uint8_t pixels[PIXELS];
    static float latent[LATENT];
    int64_t calls = 0;
    const vmt_vae_options options = {.tile = {9, 11}, .progress = count_calls, .user = &calls};
    const vmt_vae_clip clip = {
        .bytes = pixels, .frames = FRAMES, .height = 8 * ROWS, .width = 8 * COLS};
    const vmt_vae_sink sink = {.bytes = pixels};
    size_t whole, tiled;
    vae_fixture f;

    (void)state;
    vae_fixture_open(&f, "ref", "f32", "vae_a.weights.safetensors");
    CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, latent, &clip, &options));
    assert_int_equal(calls, LATENTS * 5);
    calls = 0;
    CHECK_OK(f.ctx, vmt_vae_decode(f.ctx, f.vae, &sink, latent, LATENTS, ROWS, COLS, &options));
    assert_int_equal(calls, LATENTS * 5);
    const vmt_vae_options small = {.tile = {8, 8}};
    CHECK_OK(f.ctx, vmt_vae_decode_bytes(f.ctx, f.vae, 3, 60, 104, NULL, &whole));
    CHECK_OK(f.ctx, vmt_vae_decode_bytes(f.ctx, f.vae, 3, 60, 104, &small, &tiled));
    assert_true(tiled < whole / 4);
    latent[1] = 3e38f;
    assert_int_equal(vmt_vae_decode(f.ctx, f.vae, &sink, latent, LATENTS, ROWS, COLS, &small),
                     VMT_E_NUMERIC);
    assert_non_null(strstr(f.ctx->message, "VAE decode: frame 0"));
    vae_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_on_ref), cmocka_unit_test(exact_on_ref64),
        cmocka_unit_test(exact_on_cpu), cmocka_unit_test(exact_on_cpu_bf16),
        cmocka_unit_test(windows),      cmocka_unit_test(progress_and_memory),
    };

    return cmocka_run_group_tests_name("vae_exact", tests, NULL, NULL);
}
