/* SPDX-License-Identifier: MIT */
#include "probe/probe.h"

#include <stdio.h>
#include <string.h>

typedef struct probe_kind {
    const char *name;
    enum vmt_status (*run)(vmt_ctx *ctx, vmt_probe_case *c);
} probe_kind;

static const probe_kind kinds[] = {
    {"dit", vmt_probe_dit},
    {"vae", vmt_probe_vae},
    {"vae_tiled", vmt_probe_vae_tiled},
    {"umt5", vmt_probe_umt5},
    {"amf", vmt_probe_amf},
    {"features", vmt_probe_features},
    {"samplers", vmt_probe_samplers},
    {"rng", vmt_probe_rng},
    {"shift", vmt_probe_shift},
    {"adamw", vmt_probe_adamw},
    {"guided", vmt_probe_guided},
    {"pipeline", vmt_probe_pipeline},
};

static enum vmt_status run_case(vmt_ctx *ctx, vmt_probe_case *c)
{
    const char *kind = vmt_tensor_file_meta(c->file, "kind");

    if (!kind)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no metadata \"kind\": not a case file",
                        vmt_tensor_file_path(c->file));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, kind))
            return vmt_prefix(ctx, kinds[i].run(ctx, c), "case %s", kind);
    return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: unknown kind of case \"%s\"",
                    vmt_tensor_file_path(c->file), kind);
}

enum vmt_status vmt_probe(vmt_ctx *ctx, const char *case_path, const char *out_path)
{
    const char *slash = strrchr(case_path, '/');
    const char *meta[] = {"program", "fastvmt", "backend", vmt_backend_name(ctx), NULL};
    vmt_tensor_file *file = NULL;
    char folder[4096];

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - case_path) : 1,
             slash ? case_path : ".");
    VMT_TRY(vmt_tensor_file_open(ctx, &file, case_path));
    vmt_probe_case c = {.file = file, .folder = folder};
    enum vmt_status status = run_case(ctx, &c);
    if (status == VMT_OK)
        status = vmt_safetensors_write(ctx, out_path, c.outputs, c.count, meta);
    vmt_probe_case_free(&c);
    vmt_tensor_file_close(file);
    return status;
}
