/* SPDX-License-Identifier: MIT */
#include "vae_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vmt_vae_config vae_official_config(int64_t dim)
{
    /* Wan2.1, wan/modules/vae.py */
    return (vmt_vae_config){
        .dim = dim,
        .z_dim = 16,
        .mult = {1, 2, 4, 4},
        .res_blocks = 2,
        .time_down = {false, true, true},
        .mean = {-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                 -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921},
        .std = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526,
                2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160}};
}

vmt_tensor_file *vae_golden(vmt_ctx *ctx, const char *name)
{
    char path[512];
    vmt_tensor_file *file = NULL;

    snprintf(path, sizeof path, TEST_DATA "/golden/%s", name);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, path));
    return file;
}

const vmt_tensor *vae_tensor(const vmt_tensor_file *file, const char *name)
{
    const vmt_tensor *t = vmt_tensor_file_find(file, name);

    if (!t || t->dtype != VMT_F32)
        fail_msg("%s: no F32 tensor %s", vmt_tensor_file_path(file), name);
    return t;
}

bool vae_backend_exists(const char *backend)
{
    vmt_ctx *ctx = calloc(1, sizeof *ctx);

    assert_non_null(ctx);
    vmt_ctx_init(ctx);
    const bool exists = vmt_backend_open(ctx, backend, NULL) == VMT_OK;
    if (exists)
        ctx->ops->close(ctx);
    free(ctx);
    return exists;
}

void vae_fixture_open(vae_fixture *fixture, const char *backend, const char *dtype,
                      const char *weights)
{
    const vmt_vae_config config = vae_official_config(4);

    fixture->ctx = test_ctx_open(backend, dtype);
    fixture->weights = vae_golden(fixture->ctx, weights);
    fixture->vae = NULL;
    CHECK_OK(fixture->ctx, vmt_vae_open(fixture->ctx, &fixture->vae, fixture->weights, &config));
}

void vae_fixture_close(vae_fixture *fixture)
{
    vmt_vae_close(fixture->ctx, fixture->vae);
    vmt_tensor_file_close(fixture->weights);
    test_ctx_close(fixture->ctx);
}

float *vae_encode(const vae_fixture *fixture, const vmt_tensor *video,
                  const vmt_vae_options *options)
{
    const int64_t *s = video->shape; /* 1, 3, T, H, W */
    const vmt_vae_clip clip = {
        .planes = video->data, .frames = s[2], .height = s[3], .width = s[4]};
    float *latent = malloc(sizeof(float) * (size_t)(16 * (1 + (s[2] - 1) / 4) * s[3] * s[4] / 64));

    assert_non_null(latent);
    CHECK_OK(fixture->ctx, vmt_vae_encode(fixture->ctx, fixture->vae, latent, &clip, options));
    return latent;
}

/* Where vae_decode collects. */
typedef struct planes {
    float *data;
    int64_t frames, pixels, next;
} planes;

static enum vmt_status store_planes(vmt_ctx *ctx, void *user, int64_t index, const float *rgb)
{
    planes *p = user;

    (void)ctx;
    assert_int_equal(index, p->next++);
    assert_true(index < p->frames);
    for (int64_t i = 0; i < p->pixels; i++)
        for (int64_t c = 0; c < 3; c++)
            p->data[(c * p->frames + index) * p->pixels + i] = rgb[i * 3 + c];
    return VMT_OK;
}

float *vae_decode(const vae_fixture *fixture, const vmt_tensor *latent,
                  const vmt_vae_options *options)
{
    const int64_t *s = latent->shape; /* 1, z, F, h, w */
    planes p = {.frames = 1 + 4 * (s[2] - 1), .pixels = s[3] * s[4] * 64};
    const vmt_vae_sink sink = {.frame = store_planes, .user = &p};

    p.data = malloc(sizeof(float) * (size_t)(3 * p.frames * p.pixels));
    assert_non_null(p.data);
    CHECK_OK(fixture->ctx, vmt_vae_decode(fixture->ctx, fixture->vae, &sink, latent->data, s[2],
                                          s[3], s[4], options));
    assert_int_equal(p.next, p.frames);
    return p.data;
}

double vae_distance(const float *a, const float *b, int64_t count)
{
    double largest = 0;

    for (int64_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= largest))
            largest = d;
    }
    return largest;
}

void vae_expect(const float *actual, const vmt_tensor *expected, double tolerance, const char *what)
{
    const double d = vae_distance(actual, expected->data, vmt_numel(expected));

    print_message("%s: largest difference %.2e of %.0e\n", what, d, tolerance);
    if (!(d <= tolerance))
        fail_msg("%s: largest difference %g, tolerance %g", what, d, tolerance);
}
