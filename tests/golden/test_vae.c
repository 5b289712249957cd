/* SPDX-License-Identifier: MIT
 *
 * Encode and decode against the Python reference: three clips of 5, 9 and 1 frames, and the tiled
 * variant.  Tolerances as recorded beside the golden data (10 x the float32 run of the reference).
 */
#include "vae_fixture.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct tensor_tolerance {
    const char *in, *out;
    double tolerance;
} tensor_tolerance;

static const tensor_tolerance encode_cases[] = {
    {"in.video0", "out.latent0", 2e-5},
    {"in.video1", "out.latent1", 9e-6},
    {"in.video2", "out.latent2", 4e-6},
};
static const tensor_tolerance decode_cases[] = {
    {"in.z0", "out.decoded0", 2e-4},
    {"in.z1", "out.decoded1", 5e-5},
    {"in.z2", "out.decoded2", 7e-5},
};

/* All cases; each tolerance is the larger of its own and `least`. */
static void check_all(const char *backend, const char *dtype, const char *weights, double factor,
                      double least)
{
    vae_fixture f;

    if (!vae_backend_exists(backend))
        skip();
    vae_fixture_open(&f, backend, dtype, weights);
    vmt_tensor_file *file = vae_golden(f.ctx, "vae_a.safetensors");
    for (int i = 0; i < 3; i++) {
        const double a = encode_cases[i].tolerance * factor;
        const double b = decode_cases[i].tolerance * factor;
        float *latent = vae_encode(&f, vae_tensor(file, encode_cases[i].in), NULL);
        vae_expect(latent, vae_tensor(file, encode_cases[i].out), a > least ? a : least,
                   encode_cases[i].out);
        free(latent);
        float *video = vae_decode(&f, vae_tensor(file, decode_cases[i].in), NULL);
        vae_expect(video, vae_tensor(file, decode_cases[i].out), b > least ? b : least,
                   decode_cases[i].out);
        free(video);
    }
    vmt_tensor_file_close(file);
    vae_fixture_close(&f);
}

static void test_ref(void **state)
{
    (void)state;
    check_all("ref", "f32", "vae_a.weights.safetensors", 1, 0);
}

static void test_ref_pth(void **state)
{
    (void)state;
    check_all("ref", "f32", "vae_a.pth", 1, 0);
}

/* In double only the rounding of the recorded values is left: half an ulp of 4.6. */
static void test_ref64(void **state)
{
    (void)state;
    check_all("ref64", NULL, "vae_a.weights.safetensors", 0, 5e-7);
}

static void test_cpu(void **state)
{
    (void)state;
    check_all("cpu", "f32", "vae_a.weights.safetensors", 1, 0);
}

/* bf16 keeps 8 bits; activations reach 8, some 60 roundings deep. */
static void test_cpu_bf16(void **state)
{
    (void)state;
    check_all("cpu", "bf16", "vae_a.weights.safetensors", 0, 0.4);
}

static void check_tiled(const char *backend, double factor, double least)
{
    const vmt_vae_options tiles = {.tile = {4, 6}, .stride = {2, 3}};
    vae_fixture f;

    if (!vae_backend_exists(backend))
        skip();
    vae_fixture_open(&f, backend, NULL, "vae_a.weights.safetensors");
    vmt_tensor_file *file = vae_golden(f.ctx, "vae_a_tiled.safetensors");
    const struct {
        const char *out;
        const vmt_vae_options *options;
        bool decode;
        double tolerance;
    } cases[] = {
        {"out.latent_tiled", &tiles, false, 9e-6},
        {"out.latent_plain", NULL, false, 2e-5},
        {"out.decoded_tiled", &tiles, true, 8e-5},
        {"out.decoded_plain", NULL, true, 1e-4},
    };
    for (int i = 0; i < 4; i++) {
        const vmt_tensor *expected = vae_tensor(file, cases[i].out);
        const double tolerance = cases[i].tolerance * factor;
        float *y = cases[i].decode ? vae_decode(&f, vae_tensor(file, "in.z"), cases[i].options)
                                   : vae_encode(&f, vae_tensor(file, "in.video"), cases[i].options);
        for (int64_t j = 0; cases[i].decode && j < vmt_numel(expected); j++)
            y[j] = y[j] < -1 ? -1 : y[j] > 1 ? 1 : y[j];
        vae_expect(y, expected, tolerance > least ? tolerance : least, cases[i].out);
        free(y);
    }
    vmt_tensor_file_close(file);
    vae_fixture_close(&f);
}

static void test_tiled_ref(void **state)
{
    (void)state;
    check_tiled("ref", 1, 0);
}

static void test_tiled_ref64(void **state)
{
    (void)state;
    check_tiled("ref64", 0, 5e-7); /* the blend itself is in float32 */
}

static void test_tiled_cpu(void **state)
{
    (void)state;
    check_tiled("cpu", 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),         cmocka_unit_test(test_ref_pth),
        cmocka_unit_test(test_ref64),       cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_cpu_bf16),    cmocka_unit_test(test_tiled_ref),
        cmocka_unit_test(test_tiled_ref64), cmocka_unit_test(test_tiled_cpu),
    };

    return cmocka_run_group_tests_name("vae", tests, NULL, NULL);
}
