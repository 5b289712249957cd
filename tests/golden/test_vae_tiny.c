/* SPDX-License-Identifier: MIT
 *
 * The shipped tiny model's autoencoder (weights in F16, constants from config.json) against values
 * recorded with the networks of its training.
 */
#include "vae_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define TINY SOURCE_ROOT "/models/tiny/"

static bool is_here(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (file)
        fclose(file);
    return file != NULL;
}

/* Shape with a leading axis of 1, as the fixture's calls take it. */
static vmt_tensor batched(const vmt_tensor_file *file, const char *name)
{
    const vmt_tensor *t = vae_tensor(file, name);
    const int64_t *s = t->shape;

    return vmt_reshape(t, VMT_SHAPE(1, s[0], s[1], s[2], s[3]));
}

static void check(const char *backend, const char *dtype, double tolerance)
{
    vmt_config_file *config_file = NULL;
    vmt_tensor_file *golden = NULL;
    vmt_vae_config config;
    vae_fixture f = {0};

    if (!vae_backend_exists(backend) || !is_here(TINY "vae.safetensors") ||
        !is_here(TEST_DATA "/golden/tiny_model.safetensors"))
        skip();
    f.ctx = test_ctx_open(backend, dtype);
    CHECK_OK(f.ctx, vmt_tensor_file_open(f.ctx, &f.weights, TINY "vae.safetensors"));
    CHECK_OK(f.ctx,
             vmt_tensor_file_open(f.ctx, &golden, TEST_DATA "/golden/tiny_model.safetensors"));
    CHECK_OK(f.ctx, vmt_config_file_open(f.ctx, &config_file, TINY "config.json"));
    CHECK_OK(f.ctx, vmt_vae_config_read(f.ctx, &config, config_file, f.weights));
    CHECK_OK(f.ctx, vmt_vae_open(f.ctx, &f.vae, f.weights, &config));

    const vmt_tensor video = batched(golden, "video"), latent = batched(golden, "latent");
    float *encoded = vae_encode(&f, &video, NULL);
    vae_expect(encoded, &latent, tolerance, "latent");
    free(encoded);
    float *decoded = vae_decode(&f, &latent, NULL);
    const vmt_tensor *expected = vae_tensor(golden, "decoded");
    vae_expect(decoded, expected, tolerance, "decoded");
    free(decoded);
    vmt_config_file_close(config_file);
    vmt_tensor_file_close(golden);
    vae_fixture_close(&f);
}

static void test_ref(void **state)
{
    (void)state;
    check("ref", "f32", 2e-5); /* the recorded values are float32 sums of another order */
}

static void test_cpu(void **state)
{
    (void)state;
    check("cpu", "f32", 2e-5);
}

static void test_cpu_bf16(void **state)
{
    (void)state;
    check("cpu", "bf16", 0.1);
}

static void test_cuda(void **state)
{
    (void)state;
    check("cuda", "f32", 2e-5);
}

static void test_cuda_bf16(void **state)
{
    (void)state;
    check("cuda", "bf16", 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),       cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_cpu_bf16),  cmocka_unit_test(test_cuda),
        cmocka_unit_test(test_cuda_bf16),
    };

    return cmocka_run_group_tests_name("vae_tiny", tests, NULL, NULL);
}
