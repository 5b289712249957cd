/* SPDX-License-Identifier: MIT
 *
 * `fastvmt score` as a user runs it: table, JSON, pictures; clips of other sizes, lengths and
 * rates; one line for what cannot be scored; and PSNR and SSIM as ffmpeg's filters have them.
 */
#include "bad_input.h"
#include "clips.h"
#include "motion_clips.h"

#include "media/media.h"

#include <cJSON.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT = 300, FRAMES = 10, WIDTH = 96, HEIGHT = 64 };

static vmt_ctx ctx;

static void write_clip(const char *path, const motion_clip *m, int64_t frames, int64_t width,
                       int64_t height)
{
    vmt_clip clip = motion_clip_make(&ctx, m, frames, width, height);

    CHECK_OK(&ctx, media_write(&ctx, &clip, path, NULL));
    vmt_clip_free(&clip);
}

/* The JSON that a run prints. */
static cJSON *scores_of(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    assert_string_equal(result.errors, "");
    cJSON *root = cJSON_Parse(result.output);
    assert_non_null(root);
    assert_null(strstr(result.output, "nan"));
    cli_free(&result);
    return root;
}

static const cJSON *result_at(const cJSON *root, int i)
{
    const cJSON *result = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "results"), i);

    assert_non_null(result);
    return result;
}

static double score(const cJSON *root, int i, const char *name)
{
    const cJSON *item =
        cJSON_GetObjectItem(cJSON_GetObjectItem(result_at(root, i), "scores"), name);
    const cJSON *value = cJSON_GetObjectItem(item, "value");

    if (!cJSON_IsNumber(value))
        fail_msg("%s: no value", name);
    return cJSON_GetNumberValue(value);
}

static double number(const cJSON *root, int i, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItem(result_at(root, i), name));
}

static void results(void **state)
{
    cJSON *root = scores_of(
        CLI(TIMEOUT, "score", "a.y4m", "a.y4m", "b.y4m", "still.y4m", "--json", "--threads", "2"));

    (void)state;
    assert_true(score(root, 0, "fidelity") > 0.98);
    assert_true(score(root, 0, "leak_ssim") > 0.999);
    assert_true(score(root, 1, "fidelity") > 0.95);
    assert_true(score(root, 1, "placed") > 0.4 && score(root, 1, "placed") < 0.6);
    assert_true(fabs(score(root, 2, "speed_ratio")) < 1e-6); /* it stands still */
    const cJSON *placed =
        cJSON_GetObjectItem(cJSON_GetObjectItem(result_at(root, 2), "scores"), "placed");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(placed, "value")));
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(placed, "undefined")),
                        "nothing moves in the result");
    assert_int_equal(number(root, 0, "frames"), FRAMES);
    cJSON_Delete(root);

    /* the same bytes, whatever the threads */
    cli_result one = CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--threads", "1");
    cli_result three = CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--threads", "3");
    assert_int_equal(one.code, 0);
    assert_string_equal(one.output, three.output);
    assert_non_null(strstr(one.output, "\nfidelity "));
    assert_null(strstr(one.output, "attention_cosine"));
    cli_free(&one);
    cli_free(&three);

    cli_result still = CLI(TIMEOUT, "score", "still.y4m", "b.y4m");
    assert_int_equal(still.code, 0);
    assert_non_null(strstr(still.output, "\nplaced undefined: nothing moves in the reference\n"));
    assert_null(strstr(still.output, "nan"));
    cli_free(&still);
}

/* The reference is brought to the result: centre crop, its rate, its length. */
static void aligned(void **state)
{
    const motion_clip m = {MOTION_SHIFT, 2, 0, 0, 1, 0}, fast = {MOTION_SHIFT, 4, 0, 0, 1, 0};

    (void)state;
    write_clip("wide.y4m", &m, FRAMES, 2 * WIDTH, HEIGHT); /* its middle is cut out */
    write_clip("long.y4m", &m, 2 * FRAMES, WIDTH, HEIGHT);
    write_clip("fast.y4m", &fast, FRAMES, WIDTH, HEIGHT);
    cJSON *root = scores_of(CLI(TIMEOUT, "score", "wide.y4m", "a.y4m", "--json"));
    assert_true(score(root, 0, "placed") > 0.9);
    assert_int_equal(number(root, 0, "width"), WIDTH);
    cJSON_Delete(root);
    root = scores_of(CLI(TIMEOUT, "score", "long.y4m", "a.y4m", "long.y4m", "--json"));
    assert_true(score(root, 0, "placed") > 0.98);
    assert_int_equal(number(root, 0, "frames"), FRAMES);
    assert_int_equal(number(root, 1, "frames"), 2 * FRAMES);
    cJSON_Delete(root);
    root = scores_of(CLI(TIMEOUT, "score", "a.y4m", "long.y4m", "--json", "--frames", "5"));
    assert_int_equal(number(root, 0, "frames"), 5);
    cJSON_Delete(root);
    /* every second frame of a clip of 16 a second is what a result of 8 a second moves like */
    vmt_clip clip;
    CHECK_OK(&ctx, media_read(&ctx, &clip, "fast.y4m", NULL));
    clip.fps = 8;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "slow.y4m", NULL));
    vmt_clip_free(&clip);
    root = scores_of(CLI(TIMEOUT, "score", "long.y4m", "slow.y4m", "--json"));
    assert_true(score(root, 0, "placed") > 0.98);
    assert_true(fabs(score(root, 0, "speed_ratio") - 1) < 0.02);
    cJSON_Delete(root);
}

static void pictures(void **state)
{
    vmt_clip clip;

    (void)state;
    cli_result result = CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--picture", "p.png", "--video",
                            "v.y4m", "--threads", "1");
    assert_int_equal(result.code, 0);
    cli_free(&result);
    CHECK_OK(&ctx, media_read(&ctx, &clip, "v.y4m", NULL));
    assert_int_equal(clip.frames, FRAMES);
    assert_int_equal(clip.width, 2 * 5 * WIDTH); /* enlarged to 448 at least */
    assert_int_equal(clip.height, 2 * 5 * HEIGHT);
    vmt_clip_free(&clip);
    CHECK_OK(&ctx, media_read(&ctx, &clip, "p.png", NULL));
    assert_int_equal(clip.width, 2 * 5 * WIDTH);
    vmt_clip_free(&clip);
    REFUSED("there already", VMT_E_ARG, "-y overwrites", "score", "a.y4m", "b.y4m", "--picture",
            "p.png");
    result = CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--video", "v.y4m", "-y", "--json");
    assert_int_equal(result.code, 0);
    cli_free(&result);
}

/* With a model the engine's own flow of both clips. */
static void attention(void **state)
{
    cJSON *root = scores_of(CLI(TIMEOUT, "score", "a.y4m", "a.y4m", "b.y4m", "-m", MODEL, "--json",
                                "--progress", "none", "--threads", "2"));

    (void)state;
    assert_true(fabs(score(root, 0, "attention_cosine") - 1) < 1e-6);
    assert_true(fabs(score(root, 0, "attention_error")) < 1e-6);
    assert_true(score(root, 1, "attention_error") > 0);
    cJSON_Delete(root);
}

/* Weights of the user's; here random ones. */
static void clip_weights(void **state)
{
    cJSON *root = scores_of(CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--json", "--clip",
                                TEST_DATA "/clip", "-p", "a photo of a dog", "--threads", "1"));

    (void)state;
    assert_true(fabs(score(root, 0, "clip_text")) <= 1);
    assert_true(score(root, 0, "clip_frames") > 0.9);
    cJSON_Delete(root);
    cli_result result = CLI(TIMEOUT, "score", "a.y4m", "b.y4m", "--clip", TEST_DATA "/clip");
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.output, "\nclip_text undefined: no prompt was given\n"));
    cli_free(&result);
}

static void refused(void **state)
{
    (void)state;
    REFUSED("no weights", VMT_E_IO, "none/model.safetensors", "score", "a.y4m", "b.y4m", "--clip",
            "none");
    REFUSED("other weights", VMT_E_MODEL, "not a CLIP model", "score", "a.y4m", "b.y4m", "--clip",
            "other");
    REFUSED("prompt alone", VMT_E_ARG, "--clip DIR", "score", "a.y4m", "b.y4m", "-p", "a dog");
    write_y4m("one.y4m", "YUV4MPEG2 W64 H48 F16:1 Ip A1:1 C444", 1, 3 * 64 * 48);
    write_y4m("tiny.y4m", "YUV4MPEG2 W30 H48 F16:1 Ip A1:1 C444", 4, 3 * 30 * 48);
    REFUSED("nothing", VMT_E_ARG, "a reference and at least one result", "score");
    REFUSED("one clip", VMT_E_ARG, "a reference and at least one result", "score", "a.y4m");
    REFUSED("no reference", VMT_E_IO, "none.y4m", "score", "none.y4m", "a.y4m");
    REFUSED("no result", VMT_E_IO, "none.y4m", "score", "a.y4m", "b.y4m", "none.y4m");
    REFUSED("one frame", VMT_E_ARG, "1 frame has no motion", "score", "a.y4m", "one.y4m");
    REFUSED("too small", VMT_E_ARG, "too small to score", "score", "a.y4m", "tiny.y4m");
    REFUSED("two results", VMT_E_ARG, "shows one result", "score", "a.y4m", "b.y4m", "b.y4m",
            "--video", "x.y4m");
    REFUSED("setting", VMT_E_ARG, "--steps needs a model", "score", "a.y4m", "b.y4m", "--steps",
            "3");
    REFUSED("preset", VMT_E_ARG, "--preset needs a model", "score", "a.y4m", "b.y4m", "--preset",
            "paper");
    REFUSED("kind of picture", VMT_E_ARG, "x.abc", "score", "a.y4m", "b.y4m", "--picture", "x.abc");
    REFUSED("more frames", VMT_E_ARG, "frames", "score", "a.y4m", "b.y4m", "--frames", "99");
}

/* The last "KEY:number" of each line of a file, averaged over lines. */
static double mean_in_file(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    char line[512];
    double sum = 0;
    int count = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        const char *at = strstr(line, key);
        assert_non_null(at);
        sum += strtod(at + strlen(key), NULL);
        count++;
    }
    fclose(file);
    assert_true(count > 0);
    return sum / count;
}

static void as_ffmpeg(void **state)
{
    const motion_clip m = {MOTION_ZOOM, 0, 0, 0.03, 5, 4}, n = {MOTION_ZOOM, 0, 0, 0.03, 5, 9};
    /* the second differs by grain alone; widths that are no multiple of 8 */
    const int64_t sizes[][2] = {{96, 64}, {101, 67}};

    (void)state;
    if (!test_has_ffmpeg())
        skip();
    for (int i = 0; i < 2; i++) {
        vmt_clip a = motion_clip_make(&ctx, &m, 5, sizes[i][0], sizes[i][1]);
        vmt_clip b = motion_clip_make(&ctx, &n, 5, sizes[i][0], sizes[i][1]);
        const media_write_options lossless = {.codec = "ffv1", .crf = MEDIA_DEFAULT_CRF};
        CHECK_OK(&ctx, media_write(&ctx, &a, "fa.mkv", &lossless));
        CHECK_OK(&ctx, media_write(&ctx, &b, "fb.mkv", &lossless));
        vmt_clip_free(&a);
        vmt_clip_free(&b);
        test_ffmpeg("-i fb.mkv -i fa.mkv -lavfi \"[0]format=gbrp[a];[1]format=gbrp[b];"
                    "[a][b]ssim=f=ssim.txt\" -f null -");
        test_ffmpeg("-i fb.mkv -i fa.mkv -lavfi \"[0]format=gbrp[a];[1]format=gbrp[b];"
                    "[a][b]psnr=f=psnr.txt\" -f null -");
        cJSON *root = scores_of(CLI(TIMEOUT, "score", "fa.mkv", "fb.mkv", "--json"));
        const double ssim = mean_in_file("ssim.txt", "All:");
        const double psnr = 10 * log10(255 * 255 / mean_in_file("psnr.txt", "mse_avg:"));
        print_message("SSIM %.6f, ffmpeg %.6f; PSNR %.5f, ffmpeg %.5f\n",
                      score(root, 0, "leak_ssim"), ssim, score(root, 0, "leak_psnr"), psnr);
        assert_true(fabs(score(root, 0, "leak_ssim") - ssim) < 1e-4);
        assert_true(fabs(score(root, 0, "leak_psnr") - psnr) < 1e-3);
        cJSON_Delete(root);
    }
}

static int set_up(void **state)
{
    const motion_clip m = {MOTION_SHIFT, 2, 0, 0, 1, 0}, n = {MOTION_SHIFT, 1, 0, 0, 2, 0};
    const motion_clip still = {MOTION_STILL, 0, 0, 0, 3, 0};

    (void)state;
    folder_new("score_run");
    if (chdir("score_run"))
        return -1;
    folder_new("other"); /* the tokenizer of CLIP, the weights of something else */
    file_copy("other/vocab.json", TEST_DATA "/clip/vocab.json");
    file_copy("other/merges.txt", TEST_DATA "/clip/merges.txt");
    file_copy("other/model.safetensors", MODEL "/text.safetensors");
    write_clip("a.y4m", &m, FRAMES, WIDTH, HEIGHT);
    write_clip("b.y4m", &n, FRAMES, WIDTH, HEIGHT);
    write_clip("still.y4m", &still, FRAMES, WIDTH, HEIGHT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results),      cmocka_unit_test(aligned),   cmocka_unit_test(pictures),
        cmocka_unit_test(clip_weights), cmocka_unit_test(attention), cmocka_unit_test(refused),
        cmocka_unit_test(as_ffmpeg),
    };

    vmt_ctx_init(&ctx);
    return cmocka_run_group_tests(tests, set_up, NULL);
}
