/* SPDX-License-Identifier: MIT
 *
 * The modes: what each approximation is set to in `fast`, one line each, and what turns it off.
 * Chosen by measurement on the bundled model: docs/quality.md.
 */
#include "pipeline/pipeline.h"

static const struct {
    const char *name, *exact, *fast;
} switches[] = {
    {"cache", "0", "0.2"},
    {"cache-from", "velocity", "velocity"},
    {"cache-scale", "auto", "measured"}, /* so that 0.2 means the same for every model */
    {"fp8", "off", "off"},
};

enum vmt_status vmt_settings_set_mode(vmt_ctx *ctx, vmt_settings *settings)
{
    const bool fast = settings->mode == VMT_MODE_FAST;

    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        VMT_TRY(vmt_settings_set(ctx, settings, switches[i].name,
                                 fast ? switches[i].fast : switches[i].exact));
    return VMT_OK;
}
