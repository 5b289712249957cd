/* SPDX-License-Identifier: MIT */
#include "clips.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DARKEST = 40, FRAME_STEP = 4 };

static vmt_clip make(vmt_ctx *ctx, int64_t frames, int64_t width, int64_t height, double fps)
{
    vmt_clip clip;
    CHECK_OK(ctx, vmt_clip_new(ctx, &clip, frames, height, width, fps));
    return clip;
}

vmt_clip test_clip_smooth(vmt_ctx *ctx, int64_t frames, int64_t width, int64_t height, double fps)
{
    vmt_clip clip = make(ctx, frames, width, height, fps);
    uint8_t *rgb = clip.pixels;

    for (int64_t t = 0; t < frames; t++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++, rgb += 3) {
                const double u = 2.0 * (double)x / (double)width - 1 + 1.0 / (double)width;
                const double v = 2.0 * (double)y / (double)height - 1 + 1.0 / (double)height;
                const double grey = DARKEST + FRAME_STEP * (double)t;
                rgb[0] = (uint8_t)lrint(grey + 30 * u);
                rgb[1] = (uint8_t)lrint(grey + 30 * v);
                rgb[2] = (uint8_t)lrint(grey - 30 * u);
            }
    return clip;
}

int64_t test_frame_number(const vmt_clip *clip, int64_t frame)
{
    const int64_t count = clip->width * clip->height * 3;
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += clip->pixels[frame * count + i];
    return lrint((sum / (double)count - DARKEST) / FRAME_STEP);
}

vmt_clip test_clip_noise(vmt_ctx *ctx, int64_t frames, int64_t width, int64_t height, double fps)
{
    vmt_clip clip = make(ctx, frames, width, height, fps);
    test_rng rng = {88172645463325252u};

    for (int64_t i = 0; i < frames * width * height * 3; i++) {
        test_uniform(&rng);
        clip.pixels[i] = (uint8_t)(rng.state >> 56);
    }
    return clip;
}

int test_clip_distance(const vmt_clip *a, const vmt_clip *b)
{
    int most = 0;

    if (a->frames != b->frames || a->width != b->width || a->height != b->height)
        return -1;
    for (int64_t i = 0; i < a->frames * a->width * a->height * 3; i++)
        if (abs(a->pixels[i] - b->pixels[i]) > most)
            most = abs(a->pixels[i] - b->pixels[i]);
    return most;
}

double test_clip_psnr(const vmt_clip *a, const vmt_clip *b)
{
    const int64_t count = a->frames * a->width * a->height * 3;
    double sum = 0;

    if (test_clip_distance(a, b) < 0)
        return -1;
    for (int64_t i = 0; i < count; i++) {
        const double d = a->pixels[i] - b->pixels[i];
        sum += d * d;
    }
    return sum > 0 ? 10 * log10(255.0 * 255 * (double)count / sum) : 99;
}

bool test_has_ffmpeg(void)
{
    const bool there = system("ffmpeg -version >/dev/null 2>&1") == 0;
    if (!there)
        print_message("SKIPPED: no program ffmpeg here to make inputs\n");
    return there;
}

void test_ffmpeg(const char *arguments)
{
    char command[1024];

    snprintf(command, sizeof command, "ffmpeg -nostdin -v error -y %s", arguments);
    if (system(command) != 0)
        fail_msg("%s", command);
}

void test_ffprobe(char *text, size_t size, const char *arguments)
{
    char command[1024];

    snprintf(command, sizeof command, "ffprobe -v error %s", arguments);
    FILE *probe = popen(command, "r");
    assert_non_null(probe);
    const size_t length = fread(text, 1, size - 1, probe);
    text[length] = '\0';
    if (pclose(probe) != 0)
        fail_msg("%s", command);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n')
            text[i] = i + 1 < length ? ' ' : '\0';
}

void test_write_square(const char *path)
{
    enum { WIDTH = 80, HEIGHT = 64, FRAMES = 9 };
    static unsigned char plane[WIDTH * HEIGHT];
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    fprintf(file, "YUV4MPEG2 W%d H%d F16:1 Ip A1:1 C444\n", WIDTH, HEIGHT);
    for (int t = 0; t < FRAMES; t++) {
        fputs("FRAME\n", file);
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < HEIGHT; y++)
                for (int x = 0; x < WIDTH; x++) {
                    const int inside = abs(x - 15 - 6 * t) < 9 && abs(y - 20 - 2 * t) < 9;
                    plane[y * WIDTH + x] =
                        (unsigned char)(c ? 128 + (inside ? 40 * (c == 1 ? -1 : 1) : 0)
                                          : (inside ? 220 : 40 + x));
                }
            assert_int_equal(fwrite(plane, 1, sizeof plane, file), sizeof plane);
        }
    }
    assert_int_equal(fclose(file), 0);
}
