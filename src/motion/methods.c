/* SPDX-License-Identifier: MIT
 *
 * The methods, in the order of enum vmt_method; and the two that guide nothing.
 */
#include "motion/method.h"

#include <inttypes.h>
#include <string.h>

const vmt_motion_method vmt_method_none = {
    .row = {.name = "none",
            .about = "no guidance: the noised reference is denoised; how far, strength says",
            .paper = "",
            .taps = ""},
};

const vmt_motion_method vmt_method_noise = {
    .row = {.name = "noise",
            .about = "no guidance, from pure noise: plain text-to-video",
            .paper = "",
            .taps = ""},
};

static const vmt_motion_method *const methods[VMT_METHOD_COUNT] = {
    [VMT_METHOD_FASTVMT] = &vmt_method_fastvmt,
    [VMT_METHOD_DITFLOW] = &vmt_method_ditflow,
    [VMT_METHOD_DITFLOW_10] = &vmt_method_ditflow_10,
    [VMT_METHOD_MOFT] = &vmt_method_moft,
    [VMT_METHOD_SMM] = &vmt_method_smm,
    [VMT_METHOD_MOTIONCLONE] = &vmt_method_motionclone,
    [VMT_METHOD_FLOWMOTION] = &vmt_method_flowmotion,
    [VMT_METHOD_NONE] = &vmt_method_none,
    [VMT_METHOD_NOISE] = &vmt_method_noise,
};

enum vmt_status vmt_method_get(vmt_ctx *ctx, const vmt_motion_method **method, int32_t number)
{
    if (number < 0 || number >= VMT_METHOD_COUNT)
        return vmt_fail(ctx, VMT_E_ARG, "method %" PRId32 ": must be 0 to %d", number,
                        VMT_METHOD_COUNT - 1);
    *method = methods[number];
    return VMT_OK;
}

const vmt_motion_method *vmt_method_find(const char *name)
{
    for (int i = 0; i < VMT_METHOD_COUNT; i++)
        if (!strcmp(methods[i]->row.name, name))
            return methods[i];
    return NULL;
}

const vmt_method_row *vmt_method_at(size_t index)
{
    return index < VMT_METHOD_COUNT ? &methods[index]->row : NULL;
}
