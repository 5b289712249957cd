/* SPDX-License-Identifier: MIT
 *
 * The colours that a preview makes of a latent, beside the clip that the latent is of: the bundled
 * autoencoder on clips of demo/refs.
 */
#include "vae_fixture.h"

#include "media/media.h"
#include "vae/vae_colour.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TINY SOURCE_ROOT "/models/tiny/"

enum { FRAMES = 9, LATENTS = 3, WIDTH = 160, HEIGHT = 96, COLS = WIDTH / 8, ROWS = HEIGHT / 8 };

/* Mean of a cell's pixels over the frames that its latent frame stands for. */
static double cell_mean(const vmt_clip *clip, int64_t f, int64_t row, int64_t col, int channel)
{
    const int64_t first = f ? 4 * f - 3 : 0, count = f ? 4 : 1;
    double sum = 0;

    for (int64_t t = first; t < first + count; t++)
        for (int64_t y = 8 * row; y < 8 * row + 8; y++)
            for (int64_t x = 8 * col; x < 8 * col + 8; x++)
                sum += clip->pixels[((t * HEIGHT + y) * WIDTH + x) * 3 + channel];
    return sum / (double)(64 * count);
}

typedef struct sums {
    double n, x, y, xx, yy, xy;
} sums;

static double correlation(const sums *s)
{
    return (s->xy - s->x * s->y / s->n) /
           sqrt((s->xx - s->x * s->x / s->n) * (s->yy - s->y * s->y / s->n));
}

/* Least correlation of the three channels. */
static double compare(const vmt_clip *clip, const vmt_clip *preview)
{
    double least = 1;

    for (int c = 0; c < 3; c++) {
        sums s = {0};
        for (int64_t i = 0; i < LATENTS * ROWS * COLS; i++) {
            const double x = cell_mean(clip, i / (ROWS * COLS), i / COLS % ROWS, i % COLS, c);
            const double y = preview->pixels[3 * i + c];
            s.n++, s.x += x, s.y += y, s.xx += x * x, s.yy += y * y, s.xy += x * y;
        }
        least = fmin(least, correlation(&s));
    }
    return least;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void open_tiny(vae_fixture *f, const char *backend)
{
    vmt_config_file *config_file = NULL;
    vmt_vae_config config;

    f->ctx = test_ctx_open(backend, "f32");
    CHECK_OK(f->ctx, vmt_tensor_file_open(f->ctx, &f->weights, TINY "vae.safetensors"));
    CHECK_OK(f->ctx, vmt_config_file_open(f->ctx, &config_file, TINY "config.json"));
    CHECK_OK(f->ctx, vmt_vae_config_read(f->ctx, &config, config_file, f->weights));
    CHECK_OK(f->ctx, vmt_vae_open(f->ctx, &f->vae, f->weights, &config));
    vmt_config_file_close(config_file);
}

static void preview_looks_like_the_clip(void **state)
{
    static const char *const clips[] = {"00_across.mkv", "07_swing.mkv", "13_wave.mkv"};
    const media_read_options first = {.frames = FRAMES, .width = WIDTH, .height = HEIGHT};
    static float latent[16 * LATENTS * ROWS * COLS];
    const char *backend = vae_backend_exists("cpu") ? "cpu" : "ref";
    vmt_vae_colour map;
    vae_fixture f = {0};
    double least = 1;

    (void)state;
    if (!media_has_libav())
        skip();
    open_tiny(&f, backend);
    assert_int_equal(vmt_vae_channels(f.vae), 16);
    const double begin = seconds();
    CHECK_OK(f.ctx, vmt_vae_colour_fit(f.ctx, &map, f.vae, NULL));
    print_message("fit: %.3f s\n", seconds() - begin);
    for (size_t i = 0; i < sizeof clips / sizeof *clips; i++) {
        char path[512];
        vmt_clip clip, preview;
        snprintf(path, sizeof path, SOURCE_ROOT "/demo/refs/%s", clips[i]);
        CHECK_OK(f.ctx, media_read(f.ctx, &clip, path, &first));
        const vmt_vae_clip in = {
            .bytes = clip.pixels, .frames = FRAMES, .height = HEIGHT, .width = WIDTH};
        CHECK_OK(f.ctx, vmt_vae_encode(f.ctx, f.vae, latent, &in, NULL));
        CHECK_OK(f.ctx, vmt_clip_new(f.ctx, &preview, LATENTS, ROWS, COLS, 4));
        vmt_vae_colour_apply(&map, &preview, latent, LATENTS, ROWS, COLS);
        const double r = compare(&clip, &preview);
        print_message("%s: correlation %.4f\n", clips[i], r);
        least = fmin(least, r);
        vmt_clip_free(&preview);
        vmt_clip_free(&clip);
    }
    assert_true(least > 0.8); /* measured: 0.84 */
    vae_fixture_close(&f);
}

/* The first frames, rows and columns of a larger latent; levels beyond 0..255 are cut off. */
static void map_by_hand(void **state)
{
    static const float latent[2][2][2][3] = {{{{1, 2, 3}, {4, 5, 6}}, {{7, 8, 9}, {10, 11, 12}}},
                                             {{{0, 0, 0}, {0, 0, 0}}, {{1, 0, 0}, {0, 0, 9}}}};
    static const uint8_t expected[2][2][3] = {{{11, 255, 0}, {21, 255, 0}},
                                              {{24, 8, 0}, {24, 8, 0}}};
    uint8_t pixels[2][2][3];
    vmt_clip clip = {.pixels = &pixels[0][0][0], .frames = 2, .height = 1, .width = 2, .fps = 4};
    vmt_vae_colour map = {.channels = 2};

    (void)state;
    map.weight[0][0][0] = 10, map.weight[0][0][2] = 1;
    map.weight[0][1][2] = 300;
    map.weight[0][2][0] = -1;
    map.weight[1][0][0] = 3, map.weight[1][0][1] = -3, map.weight[1][0][2] = 3;
    map.weight[1][1][2] = 8;
    vmt_vae_colour_apply(&map, &clip, &latent[0][0][0][0], 2, 2, 3);
    assert_int_equal(pixels[1][0][0], 21); /* 3 * 7 - 3 * 1 + 3 */
    assert_int_equal(pixels[1][1][0], 27);
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++)
            if (i == 0 || c > 0)
                for (int j = 0; j < 2; j++)
                    assert_int_equal(pixels[i][j][c], expected[i][j][c]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preview_looks_like_the_clip),
        cmocka_unit_test(map_by_hand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
