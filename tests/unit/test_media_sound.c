/* SPDX-License-Identifier: MIT
 *
 * The sound of a reference in what is written: for the time used, to the sample where it is encoded
 * again without loss, aligned where with loss.  Needs libav and the program ffmpeg: skipped
 * without.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RATE = 44100 };

static vmt_ctx ctx;
static char logged[1024];

static void keep_log(void *user, enum vmt_log_level level, const char *line)
{
    (void)user;
    snprintf(logged, sizeof logged, "%d %s", (int)level, line);
}

static int setup(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    ctx.log = keep_log;
    logged[0] = '\0';
    return 0;
}

/* 4 seconds, 10 fps; a sound that is unlike itself everywhere. */
static void make_reference(const char *codecs, const char *path)
{
    char arguments[512];

    snprintf(arguments, sizeof arguments,
             "-f lavfi -i testsrc2=s=64x48:r=10:d=4 -f lavfi -i "
             "\"aevalsrc=0.6*sin(1500*t+900*t*t)|0.5*sin(9000*t-800*t*t):s=%d:d=4\" %s %s",
             RATE, codecs, path);
    test_ffmpeg(arguments);
}

/* Both channels as 16 bit, from time 0 on; *count samples of each. */
static int16_t *samples_of(const char *path, size_t *count)
{
    char arguments[256];
    size_t bytes;

    snprintf(arguments, sizeof arguments,
             "-copyts -i %s -map 0:a -af aresample=%d:async=1:first_pts=0 -f s16le sound_raw", path,
             RATE);
    test_ffmpeg(arguments);
    unsigned char *raw = file_read("sound_raw", &bytes);
    unlink("sound_raw");
    int16_t *samples = malloc(bytes);
    assert_non_null(samples);
    memcpy(samples, raw, bytes);
    free(raw);
    *count = bytes / 4;
    return samples;
}

/* Reads frames of the reference and writes them with its sound; returns when they begin. */
static double carry(const char *from, media_read_options take, const char *to, const char *codec)
{
    double start = 0;
    vmt_clip clip;

    take.start_time = &start;
    CHECK_OK(&ctx, media_read(&ctx, &clip, from, &take));
    const media_write_options options = {
        .codec = codec, .crf = MEDIA_DEFAULT_CRF, .sound = from, .sound_start = start};
    CHECK_OK(&ctx, media_write(&ctx, &clip, to, &options));
    vmt_clip_free(&clip);
    return start;
}

enum { MOST_LAG = 44 }; /* a millisecond, which is as fine as Matroska counts */

/* Error over signal of `part` against `whole` from sample `at` on. */
static double noise_at(const int16_t *part, size_t count, const int16_t *whole, size_t at)
{
    double error = 0, signal = 0;

    for (size_t i = 0; i < 2 * count; i++) {
        const double d = part[i] - whole[2 * at + i];
        error += d * d;
        signal += (double)whole[2 * at + i] * whole[2 * at + i];
    }
    return error / signal;
}

/* The same where it is least within a millisecond. */
static double noise(const int16_t *part, size_t count, const int16_t *whole, size_t at)
{
    double least = noise_at(part, count, whole, at);

    for (size_t lag = 1; lag <= MOST_LAG; lag++) {
        least = fmin(least, noise_at(part, count, whole, at + lag));
        if (at >= lag)
            least = fmin(least, noise_at(part, count, whole, at - lag));
        least = fmin(least, noise_at(part + 2 * lag, count - lag, whole, at));
    }
    return least;
}

static void probe_sound(const char *path, const char *codec, double duration, double tolerance)
{
    char arguments[256], found[256], name[64];
    double length;

    snprintf(arguments, sizeof arguments,
             "-of csv=p=0:s=x -select_streams a -show_entries stream=codec_name %s", path);
    test_ffprobe(found, sizeof found, arguments);
    assert_int_equal(sscanf(found, "%63s", name), 1);
    assert_string_equal(name, codec);
    snprintf(arguments, sizeof arguments, "-of csv=p=0 -show_entries format=duration %s", path);
    test_ffprobe(found, sizeof found, arguments);
    assert_int_equal(sscanf(found, "%lf", &length), 1);
    if (fabs(length - duration) > tolerance)
        fail_msg("%s: %.4f s, expected %.4f", path, length, duration);
}

/* FFV1 with FLAC: the very samples of the time used. */
static void cut_to_the_sample(void **state)
{
    static const struct {
        media_read_options take;
        size_t at, count;
    } cases[] = {
        {{.start_frame = 7, .frames = 12}, 7 * 4410, 12 * 4410},
        {{.start_seconds = 2.5, .frames = 5}, 25 * 4410, 5 * 4410},
        {{.start_frame = 3, .stride = 4, .frames = 6}, 3 * 4410, 24 * 4410}, /* speed stays */
        {{.start_frame = 10, .fps = 25, .frames = 50}, 10 * 4410, 20 * 4410},
        {{.start_frame = 30}, 30 * 4410, 10 * 4410}, /* to the end */
    };
    size_t count, whole_count;
    (void)state;
    make_reference("-c:v png -c:a pcm_s16le", "sound_a.mov"); /* counts time in samples */
    int16_t *whole = samples_of("sound_a.mov", &whole_count);
    assert_int_equal(whole_count, 4 * RATE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        carry("sound_a.mov", cases[i].take, "sound_b.mkv", "ffv1");
        int16_t *part = samples_of("sound_b.mkv", &count);
        assert_int_equal(count, cases[i].count);
        assert_memory_equal(part, whole + 2 * cases[i].at, 4 * count);
        probe_sound("sound_b.mkv", "flac", (double)count / RATE, 1.5e-3);
        free(part);
    }
    free(whole);
    unlink("sound_a.mov");
    unlink("sound_b.mkv");
}

/* Encoded again: in step with the pictures.  Measured: 0.0002 to 0.003; a slip of 3 ms: above 0.5.
 */
static void in_step(void **state)
{
    static const struct {
        const char *path, *codec, *sound;
    } cases[] = {
        {"sound_c.mp4", NULL, "aac"},   {"sound_c.mov", NULL, "aac"},  {"sound_c.mkv", NULL, "aac"},
        {"sound_c.webm", NULL, "opus"}, {"sound_c.mkv", "vp9", "aac"},
    };
    size_t count, whole_count, first_bytes, second_bytes;
    (void)state;
    make_reference("-c:v libx264 -c:a aac -b:a 256k", "sound_a.mp4");
    int16_t *whole = samples_of("sound_a.mp4", &whole_count);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const media_read_options take = {.start_frame = 13, .frames = 15};
        carry("sound_a.mp4", take, cases[i].path, cases[i].codec);
        void *first = file_read(cases[i].path, &first_bytes);
        probe_sound(cases[i].path, cases[i].sound, 1.5, 1e-2); /* Opus pads its last packet */
        int16_t *part = samples_of(cases[i].path, &count);
        if (count < 15 * 4410 - 64 || count > 15 * 4410 + 2048)
            fail_msg("%s: %zu samples", cases[i].path, count);
        count = 15 * 4410 - 64;
        const double level = noise(part, count, whole, 13 * 4410);
        print_message("%s: noise %.5f, slipped by 3 ms %.3f\n", cases[i].path, level,
                      noise(part, count, whole, 13 * 4410 + 3 * MOST_LAG));
        assert_true(level < 0.01);
        free(part);
        carry("sound_a.mp4", take, cases[i].path, cases[i].codec); /* and byte for byte again */
        void *second = file_read(cases[i].path, &second_bytes);
        assert_int_equal(first_bytes, second_bytes);
        assert_memory_equal(first, second, first_bytes);
        free(first);
        free(second);
        unlink(cases[i].path);
    }
    free(whole);
    unlink("sound_a.mp4");
}

/* From the sound's beginning on packets go as they are: the decoded samples are the same. */
static void copied(void **state)
{
    static const struct {
        const char *codecs, *from, *to, *codec, *sound;
    } cases[] = {
        {"-c:v libx264 -c:a aac", "sound_d.mp4", "sound_e.mp4", NULL, "aac"},
        {"-c:v libx264 -c:a aac", "sound_d.mp4", "sound_e.mkv", "ffv1", "aac"},
        {"-c:v libx264 -c:a libmp3lame", "sound_d.mp4", "sound_e.mov", NULL, "mp3"},
        {"-c:v libvpx-vp9 -c:a libopus", "sound_d.webm", "sound_e.webm", NULL, "opus"},
        {"-c:v ffv1 -c:a flac", "sound_d.mkv", "sound_e.mkv", "ffv1", "flac"},
    };
    size_t count, whole_count;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_reference(cases[i].codecs, cases[i].from);
        int16_t *whole = samples_of(cases[i].from, &whole_count);
        const double start =
            carry(cases[i].from, (media_read_options){.frames = 17}, cases[i].to, cases[i].codec);
        probe_sound(cases[i].to, cases[i].sound, 1.7, 0.055);
        int16_t *part = samples_of(cases[i].to, &count);
        const size_t common = 16 * 4410; /* the last packet lacks what overlaps it */
        assert_true(count > common && whole_count > common);
        const double level = noise(part, common, whole, (size_t)lrint(start * RATE));
        /* Opus: shifted by a part of a sample where its 48 kHz become ours */
        if (level > (strcmp(cases[i].sound, "opus") ? 1e-8 : 0.005))
            fail_msg("%s: noise %.9f", cases[i].to, level);
        free(part);
        free(whole);
        unlink(cases[i].from);
        unlink(cases[i].to);
    }
}

static void count_sound(const char *path, int expected)
{
    char arguments[256], found[256];

    snprintf(arguments, sizeof arguments,
             "-of csv=p=0 -select_streams a -show_entries stream=index %s", path);
    test_ffprobe(found, sizeof found, arguments);
    assert_int_equal(found[0] != '\0', expected);
}

/* A mute reference, one without a file, a sound nobody can decode, formats that hold none. */
static void no_sound(void **state)
{
    size_t length;
    (void)state;
    test_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=10:d=1 -c:v libx264 sound_f.mp4");
    carry("sound_f.mp4", (media_read_options){0}, "sound_g.mp4", NULL);
    count_sound("sound_g.mp4", 0);
    assert_string_equal(logged, "");
    carry("sound_f.mp4", (media_read_options){0}, "sound_h.y4m", NULL);
    carry("sound_h.y4m", (media_read_options){0}, "sound_g.mp4", NULL);
    count_sound("sound_g.mp4", 0);
    make_reference("-c:v libx264 -c:a aac", "sound_f.mp4");
    carry("sound_f.mp4", (media_read_options){0}, "sound_g.gif", NULL);
    assert_non_null(strstr(logged, "3 sound_g.gif: holds no sound"));
    uint8_t *bytes = file_read("sound_f.mp4", &length);
    for (uint8_t *at = bytes; (at = memmem(at, length - (size_t)(at - bytes), "mp4a", 4)); at++)
        memcpy(at, "mp4x", 4);
    for (uint8_t *at = bytes; (at = memmem(at, length - (size_t)(at - bytes), "esds", 4)); at++)
        memcpy(at, "free", 4);
    file_write("sound_f.mp4", bytes, length);
    free(bytes);
    carry("sound_f.mp4", (media_read_options){0}, "sound_g.mp4", NULL);
    count_sound("sound_g.mp4", 0);
    assert_non_null(strstr(logged, "1 sound_f.mp4: its sound is left out: "));
    unlink("sound_f.mp4");
    unlink("sound_g.mp4");
    unlink("sound_g.gif");
    unlink("sound_h.y4m");
}

/* A hole in the sound becomes silence; what follows stays in step. */
static void holes(void **state)
{
    size_t count, whole_count;
    (void)state;
    make_reference("-c:v ffv1 -c:a pcm_s16le -af \"aselect='not(between(t,1,2))'\" "
                   "-fps_mode passthrough",
                   "sound_i.mkv");
    make_reference("-c:v png -c:a pcm_s16le", "sound_j.mov");
    int16_t *whole = samples_of("sound_j.mov", &whole_count);
    carry("sound_i.mkv", (media_read_options){.start_frame = 5, .frames = 25}, "sound_k.mkv",
          "ffv1");
    int16_t *part = samples_of("sound_k.mkv", &count);
    assert_int_equal(count, 25 * 4410);
    assert_true(noise(part, 4 * 4410, whole, 5 * 4410) < 0.01);
    for (size_t i = 6 * 4410; i < 14 * 4410; i++)
        assert_int_equal(part[2 * i], 0);
    assert_true(noise(part + 2 * 17 * 4410, 8 * 4410, whole, 22 * 4410) < 0.01);
    free(whole);
    free(part);
    unlink("sound_i.mkv");
    unlink("sound_j.mov");
    unlink("sound_k.mkv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cut_to_the_sample, setup),
        cmocka_unit_test_setup(in_step, setup),
        cmocka_unit_test_setup(copied, setup),
        cmocka_unit_test_setup(no_sound, setup),
        cmocka_unit_test_setup(holes, setup),
    };
    if (!media_has_libav() || !test_has_ffmpeg())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
