/* SPDX-License-Identifier: MIT
 *
 * Encode and decode against the official implementation: three clips of 5, 9 and 1 frames, and the
 * tiled variant.
 */
#include "conformance.h"
#include "vae_fixture.h"

#include <stdlib.h>

static void check_on(const char *backend, const char *dtype, double factor)
{
    if (!vae_backend_exists(backend))
        skip();
    vmt_ctx *ctx = test_ctx_open(backend, dtype);
    conformance_check(ctx, "vae_a", vmt_probe_vae, "out.", factor);
    conformance_check(ctx, "vae_a_tiled", vmt_probe_vae_tiled, "out.", factor);
    test_ctx_close(ctx);
}

static void vae_on_ref(void **state)
{
    (void)state;
    check_on("ref", "f32", 1);
}

/* In double only the rounding of the recorded values and of the blend is left. */
static void vae_on_ref64(void **state)
{
    (void)state;
    check_on("ref64", NULL, 0.02);
}

static void vae_on_cpu(void **state)
{
    (void)state;
    check_on("cpu", "f32", 1);
}

/* bf16 keeps 8 bits of activations that reach 8, over some 60 roundings. */
static void check_bf16(const char *backend)
{
    vae_fixture f;

    if (!vae_backend_exists(backend))
        skip();
    vae_fixture_open(&f, backend, "bf16", "vae_a.weights.safetensors");
    vmt_tensor_file *file = vae_golden(f.ctx, "vae_a.safetensors");
    float *latent = vae_encode(&f, vae_tensor(file, "in.video1"), NULL);
    vae_expect(latent, vae_tensor(file, "out.latent1"), 0.05, "latent1 in bf16");
    float *video = vae_decode(&f, vae_tensor(file, "in.z1"), NULL);
    vae_expect(video, vae_tensor(file, "out.decoded1"), 0.4, "decoded1 in bf16");
    free(video);
    free(latent);
    vmt_tensor_file_close(file);
    vae_fixture_close(&f);
}

static void vae_on_cpu_bf16(void **state)
{
    (void)state;
    check_bf16("cpu");
}

static void vae_on_cuda(void **state)
{
    (void)state;
    check_on("cuda", "f32", 1);
}

static void vae_on_cuda_bf16(void **state)
{
    (void)state;
    check_bf16("cuda");
}

/* The same weights as torch.save writes them. */
static void vae_from_pth(void **state)
{
    vae_fixture a, b;

    (void)state;
    vae_fixture_open(&a, "ref", "f32", "vae_a.weights.safetensors");
    vae_fixture_open(&b, "ref", "f32", "vae_a.pth");
    vmt_tensor_file *file = vae_golden(a.ctx, "vae_a.safetensors");
    const vmt_tensor *video = vae_tensor(file, "in.video0"), *z = vae_tensor(file, "in.z0");
    const int64_t latents = vmt_numel(vae_tensor(file, "out.latent0"));
    float *x = vae_encode(&a, video, NULL), *y = vae_encode(&b, video, NULL);
    assert_memory_equal(x, y, (size_t)latents * sizeof *x);
    free(x);
    free(y);
    x = vae_decode(&a, z, NULL);
    y = vae_decode(&b, z, NULL);
    assert_memory_equal(x, y, (size_t)vmt_numel(video) * sizeof *x);
    free(x);
    free(y);
    vmt_tensor_file_close(file);
    vae_fixture_close(&b);
    vae_fixture_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vae_on_ref),   cmocka_unit_test(vae_on_ref64),
        cmocka_unit_test(vae_on_cpu),   cmocka_unit_test(vae_on_cpu_bf16),
        cmocka_unit_test(vae_on_cuda),  cmocka_unit_test(vae_on_cuda_bf16),
        cmocka_unit_test(vae_from_pth),
    };

    return cmocka_run_group_tests_name("vae", tests, NULL, NULL);
}
