/* SPDX-License-Identifier: MIT
 *
 * Small clips for tests of media and the program.
 */
#ifndef CLIPS_H
#define CLIPS_H

#include "testing.h"

/* Smooth gradients; frame t is recognised by its brightness (test_frame_number). */
vmt_clip test_clip_smooth(vmt_ctx *ctx, int64_t frames, int64_t width, int64_t height, double fps);

/* Which frame of test_clip_smooth this one is, whatever happened to its colours and size. */
int64_t test_frame_number(const vmt_clip *clip, int64_t frame);

/* Writes a Y4M: a bright square that moves over a gradient, 9 frames of 80x64, 4:4:4. */
void test_write_square(const char *path);

/* Uniform random bytes. */
vmt_clip test_clip_noise(vmt_ctx *ctx, int64_t frames, int64_t width, int64_t height, double fps);

/* Largest difference of a colour value; -1 when sizes differ. */
int test_clip_distance(const vmt_clip *a, const vmt_clip *b);

/* Of all colour values, in dB; 99 when all are equal; -1 when sizes differ. */
double test_clip_psnr(const vmt_clip *a, const vmt_clip *b);

/* True when the program `ffmpeg` is there; false is said aloud. */
bool test_has_ffmpeg(void);

/* Runs "ffmpeg -y ARGUMENTS" silently; fails the test when it does. */
void test_ffmpeg(const char *arguments);

/* What "ffprobe ARGUMENTS" prints, its lines joined by ' '; at most `size` bytes of it. */
void test_ffprobe(char *text, size_t size, const char *arguments);

#endif
