/* SPDX-License-Identifier: MIT
 *
 * Reduction, windows, flow, losses and their gradients of both variants against the Python
 * reference; what the flow says of a known motion; AdamW.  amf_a2's window is larger than the
 * frame, amf_a3 spans two frames only (no window loss), amf_a4's tiles are ragged.
 */
#include "conformance.h"

#include <string.h>

static void test_golden(void **state)
{
    static const struct {
        const char *name;
        conformance_kind *run;
    } cases[] = {
        {"amf_a1", vmt_probe_amf},          {"amf_a2", vmt_probe_amf},
        {"amf_a3", vmt_probe_amf},          {"amf_a4", vmt_probe_amf},
        {"shift_a", vmt_probe_shift},       {"adamw_a", vmt_probe_adamw},
        {"features_a", vmt_probe_features}, {"features_b", vmt_probe_features},
    };
    const char *const backends[][2] = {
        {"ref", "f32"}, {"ref64", "auto"}, {"cpu", "f32"}, {"cuda", "f32"}};

    (void)state;
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        if (!test_backend_built(backends[b][0], backends[b][1]))
            continue;
        vmt_ctx *ctx = test_ctx_open(backends[b][0], backends[b][1]);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
            conformance_check(ctx, cases[i].name, cases[i].run, "out.", 1.0);
        test_ctx_close(ctx);
    }
}

/* Share of the tokens whose flow is right: what the two variants are about. */
static void test_known_shift(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_tensor_file *file = NULL;
    int found = 0;

    (void)state;
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, TEST_DATA "/golden/shift_a.safetensors"));
    vmt_probe_case c = {.file = file, .folder = TEST_DATA "/golden"};
    CHECK_OK(ctx, vmt_probe_shift(ctx, &c));
    for (int64_t i = 0; i < c.count; i++) {
        const float *value = c.outputs[i].tensor.data;
        if (!strcmp(c.outputs[i].name, "out.paper.within_0.1")) {
            assert_true(*value >= 0.85f);
            found++;
        }
        if (!strcmp(c.outputs[i].name, "out.released.within_0.1")) {
            assert_true(*value < 0.01f);
            found++;
        }
    }
    assert_int_equal(found, 2);
    vmt_probe_case_free(&c);
    vmt_tensor_file_close(file);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_known_shift),
    };
    return cmocka_run_group_tests_name("golden_motion", tests, NULL, NULL);
}
