/* SPDX-License-Identifier: MIT
 *
 * Wall time of one whole transfer, phase by phase, on a made clip (a square on an ellipse), so that
 * no decoder is needed.
 *
 *     bench_transfer [model dir] [backend] [dtype] [threads]
 */
#include "fastvmt/fastvmt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FRAMES = 33, HEIGHT = 96, WIDTH = 160, SIDE = 24 };

struct phases {
    double began[VMT_PHASE_COUNT + 1]; /* seconds since the run began, of each phase seen */
    int last;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int on_progress(void *user, const vmt_progress *progress)
{
    struct phases *p = user;
    while (p->last < (int)progress->phase)
        p->began[++p->last] = progress->seconds;
    return 0;
}

static void draw(vmt_clip *clip)
{
    for (int64_t f = 0; f < FRAMES; f++) {
        const double angle = 6.2831853 * (double)f / FRAMES;
        const int64_t top = (int64_t)((HEIGHT - SIDE) * (0.5 + 0.4 * sin(angle)));
        const int64_t left = (int64_t)((WIDTH - SIDE) * (0.5 + 0.4 * cos(angle)));
        for (int64_t y = 0; y < HEIGHT; y++)
            for (int64_t x = 0; x < WIDTH; x++) {
                const int inside = y >= top && y < top + SIDE && x >= left && x < left + SIDE;
                uint8_t *pixel = clip->pixels + ((f * HEIGHT + y) * WIDTH + x) * 3;
                pixel[0] = inside ? 220 : 60;
                pixel[1] = inside ? 80 : (uint8_t)(100 + y);
                pixel[2] = inside ? 40 : 160;
            }
    }
}

static int fail(const vmt_ctx *ctx)
{
    fprintf(stderr, "bench_transfer: %s\n", vmt_message(ctx));
    return 1;
}

int main(int argc, char **argv)
{
    const vmt_config config = {.backend = argc > 2 ? argv[2] : "auto",
                               .dtype = argc > 3 ? argv[3] : "auto",
                               .threads = argc > 4 ? atoi(argv[4]) : 0};
    const vmt_model_paths paths = {.dir = argc > 1 ? argv[1] : "models/tiny"};
    struct phases phases = {.last = 0};
    vmt_ctx *ctx = NULL;
    vmt_model *model = NULL;
    vmt_settings settings;
    vmt_clip reference = {0}, result = {0};

    if (vmt_ctx_open(&ctx, &config) || vmt_model_open(ctx, &model, &paths) ||
        vmt_settings_init(ctx, &settings, model, NULL) ||
        vmt_clip_new(ctx, &reference, FRAMES, HEIGHT, WIDTH, 16))
        return fail(ctx);
    draw(&reference);
    settings.prompt = "a pumpkin in the desert";
    const vmt_transfer_io io = {.reference = &reference,
                                .result = &result,
                                .progress = on_progress,
                                .progress_user = &phases};
    const double start = now();
    if (vmt_transfer(ctx, model, &settings, &io))
        return fail(ctx);
    const double seconds = now() - start;
    while (phases.last < VMT_PHASE_COUNT)
        phases.began[++phases.last] = seconds;
    uint64_t sum = 0;
    for (int64_t i = 0; i < FRAMES * HEIGHT * WIDTH * 3; i++)
        sum = sum * 31 + result.pixels[i];
    printf("backend %s:", vmt_backend_name(ctx));
    for (int p = 0; p < VMT_PHASE_COUNT; p++)
        printf(" %s %.2f", vmt_phase_name((enum vmt_phase)p),
               phases.began[p + 1] - phases.began[p]);
    printf(" total %.2f s, result %016llx\n", seconds, (unsigned long long)sum);
    vmt_clip_free(&result);
    vmt_clip_free(&reference);
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
    return 0;
}
