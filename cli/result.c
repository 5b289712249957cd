/* SPDX-License-Identifier: MIT
 *
 * The JSON beside a result and in its container: what made it, so that it can be made again.
 */
#include "cli.h"

#include "base/atomic_file.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

static bool add_text(cJSON *object, const char *key, const char *value)
{
    return !value || cJSON_AddStringToObject(object, key, value) != NULL;
}

static bool add_loras(cJSON *files, const char *name, const char *const *loras)
{
    cJSON *list = loras[0] ? cJSON_AddArrayToObject(files, name) : NULL;

    for (int i = 0; list && i < VMT_MAX_LORAS && loras[i]; i++)
        if (!cJSON_AddItemToArray(list, cJSON_CreateString(loras[i])))
            return false;
    return !loras[0] || list;
}

static bool add_run(cJSON *root, const cli_session *s, const cli_reporter *r)
{
    const cli_options *o = s->options;
    cJSON *files = cJSON_AddObjectToObject(root, "files");
    cJSON *seconds = cJSON_AddObjectToObject(root, "seconds");
    bool whole = files && seconds && add_text(root, "command", o->command) &&
                 add_text(files, "model", o->paths.dir) && add_text(files, "dit", o->paths.dit) &&
                 add_text(files, "dit-low", o->paths.dit_low) &&
                 add_text(files, "vae", o->paths.vae) && add_text(files, "text", o->paths.text) &&
                 add_text(files, "tokenizer", o->paths.tokenizer) &&
                 add_loras(files, "lora", o->paths.loras) &&
                 add_loras(files, "lora-low", o->paths.loras_low) &&
                 add_text(files, "reference", o->reference) &&
                 add_text(files, "motion", o->motion) &&
                 add_text(files, "embeddings", o->embeddings) &&
                 add_text(files, "output", o->output) && add_text(files, "fit", o->fit) &&
                 add_text(files, "damaged", o->damaged) && add_text(files, "codec", o->codec);

    for (int i = 0; whole && i < VMT_PHASE_COUNT; i++)
        if (r->phase_seconds[i] > 0)
            whole = cJSON_AddNumberToObject(seconds, vmt_phase_name((enum vmt_phase)i),
                                            (double)(int64_t)(1000 * r->phase_seconds[i]) / 1000) !=
                    NULL;
    if (whole && r->forwards)
        whole =
            cJSON_AddNumberToObject(root, "forwards", (double)r->forwards) != NULL &&
            cJSON_AddNumberToObject(root, "reused_forwards", (double)r->reused_forwards) != NULL;
    if (whole && r->inner_steps) {
        cJSON *gradients = cJSON_AddObjectToObject(root, "gradients");
        whole =
            gradients && cJSON_AddNumberToObject(gradients, "computed", (double)r->gradients) &&
            cJSON_AddNumberToObject(gradients, "reused", (double)(r->inner_steps - r->gradients));
    }
    if (whole && o->no_audio)
        whole = cJSON_AddTrueToObject(files, "no-audio") != NULL;
    if (whole && o->max_vram)
        whole = cJSON_AddNumberToObject(files, "max-vram", (double)o->max_vram) != NULL;
    if (whole && o->max_ram)
        whole = cJSON_AddNumberToObject(files, "max-ram", (double)o->max_ram) != NULL;
    if (whole && o->crf != MEDIA_DEFAULT_CRF)
        whole = cJSON_AddNumberToObject(files, "crf", (double)o->crf) != NULL;
    if (whole && o->start_seconds > 0)
        whole = cJSON_AddNumberToObject(files, "start-seconds", o->start_seconds) != NULL;
    if (whole && o->start)
        whole = cJSON_AddNumberToObject(files, "start", (double)o->start) != NULL;
    if (whole && o->stride != 1)
        whole = cJSON_AddNumberToObject(files, "stride", (double)o->stride) != NULL;
    return whole;
}

char *cli_result_json(const cli_session *s, const cli_reporter *r)
{
    char *library = NULL, *text = NULL;

    if (vmt_settings_json(s->ctx, s->model, &s->settings, &library) != VMT_OK)
        return NULL;
    cJSON *root = cJSON_Parse(library);
    vmt_text_free(library);
    if (root && add_run(root, s, r))
        text = cJSON_Print(root);
    cJSON_Delete(root);
    return text;
}

int cli_print_json(char *text)
{
    if (!text)
        return cli_fail_text(VMT_E_MEMORY, "out of memory");
    puts(text);
    cJSON_free(text);
    return 0;
}

int cli_write_text(const cli_session *s, const char *path, const char *text)
{
    vmt_atomic_file file;
    enum vmt_status status = vmt_atomic_file_open(s->ctx, &file, path);

    if (status != VMT_OK)
        return cli_fail(s, status);
    status = vmt_atomic_file_write(s->ctx, &file, text, strlen(text));
    if (status == VMT_OK)
        status = vmt_atomic_file_write(s->ctx, &file, "\n", 1);
    if (status == VMT_OK)
        status = vmt_atomic_file_commit(s->ctx, &file);
    else
        vmt_atomic_file_abort(&file);
    return status == VMT_OK ? 0 : cli_fail(s, status);
}

void cli_print_word(const char *word, FILE *to)
{
    if (*word &&
        strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./,:=") ==
            strlen(word)) {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word; word++) {
        const unsigned char c = (unsigned char)*word;
        if (c == '\'')
            fputs("'\\''", to);
        else
            fputc(c < 0x20 || c == 0x7f ? ' ' : c, to);
    }
    fputc('\'', to);
}

/* " --name value" as a shell reads it; a text that is empty is left out. */
static void print_option(const char *name, const cJSON *value, FILE *to)
{
    if (cJSON_IsString(value) && !*value->valuestring)
        return;
    fputs(" --", to);
    cli_print_word(name, to);
    if (cJSON_IsTrue(value))
        return;
    fputc(' ', to);
    if (cJSON_IsString(value))
        cli_print_word(value->valuestring, to);
    else
        fprintf(to, "%.15g", value->valuedouble);
}

bool cli_print_command(const char *json, FILE *to)
{
    cJSON *root = cJSON_Parse(json);
    const cJSON *command = cJSON_GetObjectItemCaseSensitive(root, "command");
    const cJSON *lists[2] = {cJSON_GetObjectItemCaseSensitive(root, "files"),
                             cJSON_GetObjectItemCaseSensitive(root, "settings")};
    const cJSON *program = cJSON_GetObjectItemCaseSensitive(root, "program"), *item, *each;
    const bool ours = cJSON_IsString(program) && !strcmp(program->valuestring, "fastvmt") &&
                      cJSON_IsString(command) && cJSON_IsObject(lists[0]) &&
                      cJSON_IsObject(lists[1]);

    if (ours) {
        fputs("fastvmt ", to);
        cli_print_word(command->valuestring, to);
        for (int i = 0; i < 2; i++)
            cJSON_ArrayForEach(item, lists[i])
            {
                if (!cJSON_IsArray(item))
                    print_option(item->string, item, to);
                for (each = cJSON_IsArray(item) ? item->child : NULL; each; each = each->next)
                    print_option(item->string, each, to);
            }
        fputc('\n', to);
    }
    cJSON_Delete(root);
    return ours;
}
