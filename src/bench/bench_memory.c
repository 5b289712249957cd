/* SPDX-License-Identifier: MIT
 *
 * What a whole transfer would take, phase by phase: the plan of the whole model, whose weights are
 * files full of holes.
 */
#include "bench/bench.h"

#include "pipeline/pipeline.h"

#include <stdio.h>

/* The official dtypes: F32, the text encoder BF16. */
static enum vmt_status open_model(bench *b, vmt_model *m)
{
    vmt_ctx *ctx = b->ctx;
    vmt_tensor_list list = {0};

    m->dit_config = b->dit;
    m->vae_config = b->vae;
    m->text_config = b->text;
    VMT_TRY(vmt_tensor_list_dit(ctx, &list, &b->dit));
    VMT_TRY(bench_weights_file(ctx, &m->files[VMT_PART_DIT], &list, VMT_F32, BENCH_UNDRAWN));
    VMT_TRY(vmt_dit_open(ctx, &m->dit, m->files[VMT_PART_DIT], &b->dit));
    list = (vmt_tensor_list){0};
    VMT_TRY(vmt_tensor_list_vae(ctx, &list, &b->vae));
    VMT_TRY(bench_weights_file(ctx, &m->files[VMT_PART_VAE], &list, VMT_F32, BENCH_UNDRAWN));
    VMT_TRY(vmt_vae_open(ctx, &m->vae, m->files[VMT_PART_VAE], &b->vae));
    list = (vmt_tensor_list){0};
    VMT_TRY(vmt_tensor_list_text(ctx, &list, &b->text));
    VMT_TRY(bench_weights_file(ctx, &m->files[VMT_PART_TEXT], &list, VMT_BF16, BENCH_UNDRAWN));
    return vmt_umt5_open(ctx, &m->text, m->files[VMT_PART_TEXT], &b->text);
}

/* Phases before and after the guidance once; the guidance at each recompute level. */
static bool belongs(int phase, int level)
{
    return level == 0 || phase == VMT_PHASE_SAMPLE;
}

static enum vmt_status tell_plan(bench *b, const vmt_model *m, int level)
{
    const vmt_clip reference = {
        .frames = b->head.frames, .height = b->head.height, .width = b->head.width, .fps = 16};
    const vmt_transfer_io io = {.reference = &reference};
    vmt_settings settings;
    vmt_plan plan;
    size_t converted, mapped;
    char detail[BENCH_TEXT_BYTES];

    VMT_TRY(vmt_settings_init(b->ctx, &settings, NULL, NULL));
    settings.recompute = level;
    if (settings.motion.block >= b->dit.layers)
        settings.motion.block = (int32_t)b->dit.layers - 1;
    VMT_TRY(vmt_plan_make(b->ctx, m, &settings, &io, &plan));
    vmt_dit_weight_bytes(b->ctx, m->dit, &converted, &mapped);
    for (int i = VMT_PHASE_TEXT; i < VMT_PHASE_COUNT; i++) {
        if (!belongs(i, level))
            continue;
        const bool has_dit = i >= VMT_PHASE_EXTRACT;
        const vmt_bench_row row = {.part = "memory",
                                   .what = vmt_phase_name((enum vmt_phase)i),
                                   .detail = detail,
                                   .planned = plan.phase_bytes[i],
                                   .converted = has_dit ? converted : 0,
                                   .mapped = has_dit ? mapped : 0};
        snprintf(detail, sizeof detail, "plan of a transfer, all %d blocks, recompute level %d",
                 (int)b->dit.layers, level);
        VMT_TRY(bench_tell(b, &row));
    }
    return VMT_OK;
}

enum vmt_status bench_memory(bench *b)
{
    vmt_model m = {0};
    enum vmt_status status = open_model(b, &m);

    for (int level = 0; level < 3 && status == VMT_OK; level++)
        status = tell_plan(b, &m, level);
    vmt_dit_close(b->ctx, m.dit);
    vmt_vae_close(b->ctx, m.vae);
    vmt_umt5_close(b->ctx, m.text);
    for (int part = 0; part < VMT_PART_COUNT; part++)
        vmt_tensor_file_close(m.files[part]);
    return status;
}
