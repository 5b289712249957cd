/* SPDX-License-Identifier: MIT
 *
 * The program on an NVIDIA device, on the bundled model: the same motion, latent and video as on
 * the CPU in F32, near to them in BF16, and the same bits run after run.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"
#include "model/tensor_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL SOURCE_ROOT "/models/tiny"
#define REFERENCE "cuda_reference.y4m"
#define PROMPT "--embeddings", TEST_DATA "/prompt.safetensors"
#define HOST "--backend", "ref", "--dtype", "f32"
#define F32 "--backend", "cuda", "--dtype", "f32"
#define BF16 "--backend", "cuda", "--dtype", "bf16"
#define TRANSFER(name)                                                                             \
    "transfer", "-m", MODEL, "-r", REFERENCE, PROMPT, "-y", "-q", "--steps", "8",                  \
        "--guided-steps", "3", "--inner-steps", "4", "-o", name ".y4m", "--latent",                \
        name ".latent.safetensors"
#define EXTRACT(name) "extract", "-m", MODEL, "-r", REFERENCE, PROMPT, "-y", "-q", "-o", name ".fvm"

enum { TIMEOUT = 600 };

static vmt_ctx ctx;

static void check_done(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    cli_free(&result);
}

/* ---- comparison */

/* Cosine of two tensors of one name in two files, and the root mean square of their difference over
 * that of the second. */
typedef struct agreement {
    double cosine, relative;
} agreement;

static agreement compare(const char *a_path, const char *b_path, const char *name)
{
    vmt_tensor_file *a = NULL, *b = NULL;
    double aa = 0, bb = 0, ab = 0, dd = 0;

    CHECK_OK(&ctx, vmt_tensor_file_open(&ctx, &a, a_path));
    CHECK_OK(&ctx, vmt_tensor_file_open(&ctx, &b, b_path));
    const vmt_tensor *x = vmt_tensor_file_find(a, name), *y = vmt_tensor_file_find(b, name);
    assert_non_null(x);
    assert_non_null(y);
    assert_true(vmt_same_shape(x, y) && x->dtype == VMT_F32 && y->dtype == VMT_F32);
    for (int64_t i = 0; i < vmt_numel(x); i++) {
        const double p = (double)((const float *)x->data)[i],
                     q = (double)((const float *)y->data)[i];
        aa += p * p;
        bb += q * q;
        ab += p * q;
        dd += (p - q) * (p - q);
    }
    vmt_tensor_file_close(a);
    vmt_tensor_file_close(b);
    const agreement result = {ab / sqrt(aa * bb), sqrt(dd / bb)};
    print_message("%s, %s of %s: cosine %.7f, difference %.2e\n", a_path, name, b_path,
                  result.cosine, result.relative);
    return result;
}

static double psnr(const char *a_path, const char *b_path)
{
    vmt_clip a, b;
    double squares = 0;

    CHECK_OK(&ctx, media_read(&ctx, &a, a_path, NULL));
    CHECK_OK(&ctx, media_read(&ctx, &b, b_path, NULL));
    const int64_t count = 3 * a.frames * a.height * a.width;
    assert_int_equal(count, 3 * b.frames * b.height * b.width);
    for (int64_t i = 0; i < count; i++)
        squares += (a.pixels[i] - b.pixels[i]) * (a.pixels[i] - b.pixels[i]);
    vmt_clip_free(&a);
    vmt_clip_free(&b);
    const double result = 10 * log10(255.0 * 255 / (squares / (double)count + 1e-9));
    print_message("%s of %s: PSNR %.2f dB\n", a_path, b_path, result);
    return result;
}

/* ---- cases */

static int make_host(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    test_write_square(REFERENCE);
    check_done(CLI(TIMEOUT, EXTRACT("cuda_host"), HOST));
    check_done(CLI(TIMEOUT, TRANSFER("cuda_host"), HOST));
    return 0;
}

static void motion_as_on_the_host(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, EXTRACT("cuda_f32"), F32));
    assert_true(compare("cuda_f32.fvm", "cuda_host.fvm", "flows").relative < 1e-4);
    check_done(CLI(TIMEOUT, EXTRACT("cuda_bf16"), BF16));
    assert_true(compare("cuda_bf16.fvm", "cuda_host.fvm", "flows").cosine > 0.99);
}

static void video_as_on_the_host(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER("cuda_f32"), F32));
    assert_true(
        compare("cuda_f32.latent.safetensors", "cuda_host.latent.safetensors", "latent").relative <
        1e-2);
    assert_true(psnr("cuda_f32.y4m", "cuda_host.y4m") > 40);
    check_done(CLI(TIMEOUT, TRANSFER("cuda_bf16"), BF16));
    compare("cuda_bf16.latent.safetensors", "cuda_host.latent.safetensors", "latent");
    assert_true(psnr("cuda_bf16.y4m", "cuda_host.y4m") > 20);
}

static void same_bits_again(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER("cuda_once"), BF16));
    check_done(CLI(TIMEOUT, TRANSFER("cuda_again"), BF16));
    assert_true(compare("cuda_once.latent.safetensors", "cuda_again.latent.safetensors", "latent")
                    .relative == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(motion_as_on_the_host),
        cmocka_unit_test(video_as_on_the_host),
        cmocka_unit_test(same_bits_again),
    };
    if (!test_backend_built("cuda", "f32"))
        return 77;
    return cmocka_run_group_tests_name("cuda", tests, make_host, NULL);
}
