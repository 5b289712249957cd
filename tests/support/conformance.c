/* SPDX-License-Identifier: MIT */
#include "conformance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct difference {
    double largest, mean, above; /* above: share of elements farther than the limit */
} difference;

static double element(const vmt_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case VMT_F32:
        return (double)((const float *)t->data)[i];
    case VMT_I64:
        return (double)((const int64_t *)t->data)[i];
    case VMT_I32:
        return (double)((const int32_t *)t->data)[i];
    case VMT_U8:
        return (double)((const uint8_t *)t->data)[i];
    case VMT_F64:
    case VMT_F16:
    case VMT_BF16:
    case VMT_F8_E4M3:
    case VMT_Q8_0:
    case VMT_Q4_0:
    case VMT_Q4_K:
    case VMT_Q5_K:
    case VMT_Q6_K:
        break;
    }
    fail_msg("unexpected dtype %d in a case", (int)t->dtype);
    return 0;
}

static difference compare(const vmt_tensor *got, const vmt_tensor *want, double limit)
{
    const int64_t count = vmt_numel(want);
    difference d = {0};

    for (int64_t i = 0; i < count; i++) {
        const double gap = fabs(element(got, i) - element(want, i));
        if (!(gap <= d.largest))
            d.largest = gap; /* NaN too */
        d.mean += gap / (double)count;
        d.above += gap > limit ? 1.0 / (double)count : 0;
    }
    return d;
}

double conformance_tolerance(const char *name, const char *tensor)
{
    FILE *file = fopen(TEST_DATA "/golden/tolerances.tsv", "r");
    char line[256], of[64], what[128], value[32];
    double found = -1;

    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63s\t%127s\t%31s", of, what, value) == 3 && !strcmp(of, name) &&
            !strcmp(what, tensor))
            found = strcmp(value, "exact") ? atof(value) : 0;
    fclose(file);
    return found;
}

static const vmt_tensor *find_output(const vmt_probe_case *c, const char *name)
{
    for (int64_t i = 0; i < c->count; i++)
        if (!strcmp(c->outputs[i].name, name))
            return &c->outputs[i].tensor;
    return NULL;
}

/* Latents after an optimiser step, or made from them. */
static bool is_latent(const char *tensor)
{
    return strstr(tensor, ".x") || strstr(tensor, "final") || strstr(tensor, "latent");
}

/* Share of its tolerance that a tensor uses; > 1 fails. */
static double share(const char *name, const char *tensor, difference d, double factor, bool guided)
{
    const double allowed = conformance_tolerance(name, tensor) * factor;

    assert_true(allowed >= 0);
    if (guided && is_latent(tensor)) {
        const double by_count = strstr(tensor, "inner") ? d.above / 1e-3 : 0;
        const double by_mean =
            d.mean / (strstr(tensor, "inner") ? fmax(1e-5, allowed / 10) : allowed);
        return by_count > by_mean ? by_count : by_mean;
    }
    if (allowed == 0)
        return d.largest == 0 ? 0 : (double)INFINITY;
    return d.largest / allowed;
}

static void run_and_compare(vmt_ctx *ctx, const char *name, conformance_kind *run,
                            const char *prefix, double factor, bool guided)
{
    char path[1024], worst[VMT_TENSOR_NAME_BYTES] = "", have[128], want[128];
    vmt_tensor_file *file = NULL;
    double most = -1;
    int failed = 0;

    snprintf(path, sizeof path, "%s/golden/%s.safetensors", TEST_DATA, name);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, path));
    vmt_probe_case c = {.file = file, .folder = TEST_DATA "/golden"};
    CHECK_OK(ctx, run(ctx, &c));
    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const char *tensor = vmt_tensor_file_name(file, i);
        if (strncmp(tensor, prefix, strlen(prefix)))
            continue;
        const vmt_tensor *got = find_output(&c, tensor),
                         *expected = vmt_tensor_file_find(file, tensor);
        if (!got)
            fail_msg("%s: %s was not computed", name, tensor);
        if (!vmt_same_shape(got, expected))
            fail_msg("%s: %s is %s, expected %s", name, tensor, vmt_shape_text(got, have),
                     vmt_shape_text(expected, want));
        const double limit = fmax(2e-5, conformance_tolerance(name, tensor) * factor);
        const difference d = compare(got, expected, limit);
        const double used = share(name, tensor, d, factor, guided);
        if (!(used <= 1)) {
            print_error("%s %s: largest difference %.3g, mean %.3g, beyond it %.3g%%: %.3g of the "
                        "tolerance (backend %s)\n",
                        name, tensor, d.largest, d.mean, 100 * d.above, used, ctx->ops->name);
            failed++;
        }
        if (!(used <= most)) {
            most = used;
            snprintf(worst, sizeof worst, "%s", tensor);
        }
    }
    vmt_probe_case_free(&c);
    vmt_tensor_file_close(file);
    print_message("%s on %s: at most %.3g of the tolerance (%s)\n", name, ctx->ops->name, most,
                  worst);
    assert_true(most >= 0);
    assert_int_equal(failed, 0);
}

void conformance_check(vmt_ctx *ctx, const char *name, conformance_kind *run, const char *prefix,
                       double factor)
{
    run_and_compare(ctx, name, run, prefix, factor, false);
}

void conformance_check_guided(vmt_ctx *ctx, const char *name, conformance_kind *run,
                              const char *prefix, double factor)
{
    run_and_compare(ctx, name, run, prefix, factor, true);
}
