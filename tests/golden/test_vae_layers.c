/* SPDX-License-Identifier: MIT
 *
 * The output of every part of both networks against the Python reference's pass over a whole clip.
 */
#include "conformance.h"
#include "vae/vae_net.h"
#include "vae_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What comes out of every part is compared frame by frame. */
typedef struct tap_state {
    const vmt_tensor_file *file;
    int64_t frames[VMT_VAE_MAX_PARTS]; /* seen of each part */
    const vmt_vae_part *parts;
    double tolerance, largest; /* tolerance 0: what is recorded for each part */
} tap_state;

static enum vmt_status compare(vmt_ctx *ctx, void *user, const char *part, const vmt_tensor *frame)
{
    tap_state *s = user;
    char name[64];
    int64_t i = 0;

    snprintf(name, sizeof name, "out.%s", part);
    const vmt_tensor *expected = vmt_tensor_file_find(s->file, name); /* [1, C, T, H, W] */
    if (!expected)
        return VMT_OK; /* conv1: the encoder's last, beyond the recorded parts */
    while (strcmp(s->parts[i].name, part))
        i++;
    const int64_t t = s->frames[i]++;
    const int64_t channels = expected->shape[1], pixels = expected->shape[3] * expected->shape[4];
    float *actual = malloc(sizeof(float) * (size_t)(channels * pixels));
    vmt_tensor host = vmt_tensor_over(actual, VMT_F32, 4, frame->shape);
    const double tolerance =
        s->tolerance > 0 ? s->tolerance : conformance_tolerance("vae_a_layers", name);
    assert_non_null(actual);
    assert_true(t < expected->shape[2]);
    assert_int_equal(frame->shape[1], expected->shape[3]);
    assert_int_equal(frame->shape[2], expected->shape[4]);
    assert_int_equal(frame->shape[3], channels);
    CHECK_OK(ctx, vmt_download(ctx, &host, frame));
    for (int64_t c = 0; c < channels; c++)
        for (int64_t p = 0; p < pixels; p++) {
            const float *plane =
                (const float *)expected->data + (c * expected->shape[2] + t) * pixels;
            const double d = vae_distance(&actual[p * channels + c], &plane[p], 1);
            if (!(d <= tolerance))
                fail_msg("%s, frame %d: %g off, tolerance %g", part, (int)t, d, tolerance);
            s->largest = d > s->largest ? d : s->largest;
        }
    free(actual);
    return VMT_OK;
}

static enum vmt_status drop(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    (void)ctx, (void)user, (void)frame;
    return VMT_OK;
}

/* [1, C, T, H, W] -> frame t as [1, H, W, C], (x / s + m) per channel. */
static void frame_of(float *frame, const vmt_tensor *x, int64_t t, const vmt_vae_config *norm)
{
    const int64_t channels = x->shape[1], pixels = x->shape[3] * x->shape[4];

    for (int64_t c = 0; c < channels; c++)
        for (int64_t p = 0; p < pixels; p++) {
            const float v = ((const float *)x->data)[(c * x->shape[2] + t) * pixels + p];
            frame[p * channels + c] =
                norm ? (float)((double)v / (double)(1.0f / (float)norm->std[c]) + norm->mean[c])
                     : v;
        }
}

static void check(const char *backend, const char *dtype, double encoder, double decoder)
{
    const vmt_vae_config config = vae_official_config(4);
    vae_fixture f;

    if (!vae_backend_exists(backend))
        skip();
    vae_fixture_open(&f, backend, dtype, "vae_a.weights.safetensors");
    vmt_tensor_file *file = vae_golden(f.ctx, "vae_a_layers.safetensors");
    CHECK_OK(f.ctx, vmt_vae_prepare(f.ctx, f.vae, VMT_VAE_ENCODE | VMT_VAE_DECODE));
    for (int decode = 0; decode < 2; decode++) {
        const enum vmt_vae_direction direction = decode ? VMT_VAE_DECODE : VMT_VAE_ENCODE;
        const vmt_tensor *x = vae_tensor(file, decode ? "in.z" : "in.video");
        tap_state state = {.file = file, .tolerance = decode ? decoder : encoder};
        vmt_vae_net net = {.emit = drop, .tap = compare, .user = &state};
        vmt_arena arena = vmt_arena_measure();
        CHECK_OK(f.ctx, vmt_vae_net_layout(f.ctx, &arena, &net, f.vae, direction, x->shape[3],
                                           x->shape[4]));
        CHECK_OK(f.ctx, vmt_arena_open(f.ctx, &arena, arena.peak));
        CHECK_OK(f.ctx, vmt_vae_net_layout(f.ctx, &arena, &net, f.vae, direction, x->shape[3],
                                           x->shape[4]));
        CHECK_OK(f.ctx, vmt_vae_net_reset(f.ctx, &net));
        state.parts = net.parts;
        float *frame = malloc(sizeof(float) * (size_t)vmt_numel(x));
        assert_non_null(frame);
        for (int64_t t = 0; t < x->shape[2]; t++) {
            const vmt_tensor host = vmt_tensor_over(
                frame, VMT_F32, VMT_SHAPE(1, x->shape[3], x->shape[4], x->shape[1]));
            frame_of(frame, x, t, decode ? &config : NULL);
            CHECK_OK(f.ctx, vmt_vae_net_push(f.ctx, &net, &host));
        }
        for (int64_t i = 0; i < net.count - (decode ? 0 : 1); i++) {
            char name[64];
            snprintf(name, sizeof name, "out.%s", net.parts[i].name);
            assert_int_equal(state.frames[i], vae_tensor(file, name)->shape[2]);
        }
        print_message("%s %s: largest difference %.2e\n", backend, decode ? "decoder" : "encoder",
                      state.largest);
        free(frame);
        vmt_arena_close(f.ctx, &arena);
    }
    vmt_tensor_file_close(file);
    vae_fixture_close(&f);
}

static void test_ref(void **state)
{
    (void)state;
    check("ref", "f32", 0, 0);
}

static void test_ref64(void **state)
{
    (void)state;
    check("ref64", NULL, 5e-7, 2e-6); /* latents are rounded to float32 on their way in here */
}

static void test_cpu(void **state)
{
    (void)state;
    check("cpu", "f32", 0, 0);
}

static void test_cuda(void **state)
{
    (void)state;
    check("cuda", "f32", 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),
        cmocka_unit_test(test_ref64),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_cuda),
    };

    return cmocka_run_group_tests_name("vae_layers", tests, NULL, NULL);
}
