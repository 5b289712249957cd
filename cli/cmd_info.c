/* SPDX-License-Identifier: MIT
 *
 * info, probe, make-model, convert, devices.
 */
#include "cli.h"

#include "model/convert.h"
#include "model/random_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *read_text(const char *path)
{
    struct stat info;
    char *text = NULL;
    FILE *file = fopen(path, "r");

    if (file && !fstat(fileno(file), &info) && info.st_size < (1 << 20) &&
        (text = calloc(1, (size_t)info.st_size + 1)) &&
        fread(text, 1, (size_t)info.st_size, file) != (size_t)info.st_size) {
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

static bool has_ending(const char *path, const char *ending)
{
    const size_t a = strlen(path), b = strlen(ending);
    return a > b && !strcmp(path + a - b, ending);
}

/* A video: its streams, and the command line that made it if it is a result. */
static enum vmt_status describe_video(const cli_session *s, const char *path)
{
    char *text = NULL, *comment = NULL;
    const enum vmt_status status = media_describe(s->ctx, path, &text, &comment);

    if (status != VMT_OK)
        return status;
    fputs(text, stdout);
    if (comment)
        cli_print_command(comment, stdout);
    vmt_text_free(text);
    vmt_text_free(comment);
    return VMT_OK;
}

/* Tensor files begin with a small length and "{", with "PK" or "GGUF"; index files with "{". */
static bool is_model_file(const char *path)
{
    unsigned char head[10];
    struct stat info;

    if ((!stat(path, &info) && S_ISDIR(info.st_mode)) || has_ending(path, ".index.json"))
        return true;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? 0 : read(fd, head, sizeof head);
    if (fd >= 0)
        close(fd);
    return (got >= 9 && head[8] == '{' && !head[6] && !head[7]) ||
           (got >= 2 && !memcmp(head, "PK", 2)) || (got >= 4 && !memcmp(head, "GGUF", 4));
}

/* *ours: it is the JSON beside a result. */
static enum vmt_status describe_json(const cli_session *s, const char *path, bool *ours)
{
    errno = 0; /* malloc sets it */
    char *text = read_text(path);

    *ours = text && cli_print_command(text, stdout);
    free(text);
    return *ours || errno != ENOMEM ? VMT_OK
                                    : vmt_fail(s->ctx, VMT_E_MEMORY, "%s: out of memory", path);
}

/* That there is something to look at: readers of videos say it in other words. */
static enum vmt_status check_there(const cli_session *s, const char *path)
{
    struct stat info;

    if (stat(path, &info))
        return vmt_fail(s->ctx, VMT_E_IO, "%s: %s", path, strerror(errno));
    if (S_ISREG(info.st_mode) && info.st_size == 0)
        return vmt_fail(s->ctx, VMT_E_FORMAT, "%s: the file is empty", path);
    return VMT_OK;
}

static enum vmt_status describe_any(const cli_session *s, const char *path)
{
    bool ours = false;
    char *text = NULL;

    if (is_model_file(path)) {
        const enum vmt_status status = vmt_describe(s->ctx, path, &text);
        if (status == VMT_OK)
            fputs(text, stdout);
        vmt_text_free(text);
        return status;
    }
    if (has_ending(path, ".json"))
        VMT_TRY(describe_json(s, path, &ours));
    return ours ? VMT_OK : describe_video(s, path);
}

/* Before anything is printed: a bad file gives its one line and nothing else. */
static enum vmt_status check(const cli_session *s, const char *path)
{
    if (!is_model_file(path))
        return vmt_fail(s->ctx, VMT_E_ARG, "%s: --check is for models and files of tensors", path);
    return vmt_check_files(s->ctx, path);
}

int cli_info(cli_options *o)
{
    cli_session s;

    if (o->operand_count != 1)
        return cli_fail_text(VMT_E_ARG, "info needs one file or folder");
    int code = cli_session_open(&s, o, false);
    if (!code) {
        enum vmt_status status = check_there(&s, o->operands[0]);
        if (status == VMT_OK && o->check)
            status = check(&s, o->operands[0]);
        if (status == VMT_OK)
            status = describe_any(&s, o->operands[0]);
        if (status == VMT_OK && o->check)
            puts("checked: checksums agree where there are any, every value is finite");
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    cli_session_close(&s);
    return code;
}

int cli_probe(cli_options *o)
{
    cli_session s;

    if (o->operand_count != 1 || !o->output)
        return cli_fail_text(VMT_E_ARG, "probe needs a case file and an output: CASE -o OUT");
    if (!o->backend)
        o->backend = "ref"; /* a case asks for exactness before speed */
    int code = cli_check_place(o->output);
    if (code)
        return code;
    code = cli_session_open(&s, o, false);
    if (!code) {
        const enum vmt_status status = vmt_probe(s.ctx, o->operands[0], o->output);
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    cli_session_close(&s);
    return code;
}

/* Of --type; false: no such one. */
static bool dit_type(const char *name, enum vmt_dtype *dtype)
{
    static const struct {
        const char *name;
        enum vmt_dtype dtype;
    } types[] = {{"f32", VMT_F32}, {"bf16", VMT_BF16}, {"f16", VMT_F16}};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!name || !strcmp(name, types[i].name)) {
            *dtype = types[i].dtype;
            return true;
        }
    return false;
}

int cli_make_model(cli_options *o)
{
    vmt_random_model model = {.shape = o->shape ? o->shape : "tiny",
                              .text_shape = o->text_shape,
                              .vae_shape = o->vae_shape,
                              .layers = o->layers,
                              .seed = (uint64_t)o->seed_models,
                              .tokenizer = o->paths.tokenizer,
                              .two_transformers = o->two_transformers};
    cli_session s;

    if (o->operand_count != 1)
        return cli_fail_text(VMT_E_ARG, "make-model needs the folder to write");
    if (!dit_type(o->type, &model.dit_dtype))
        return cli_fail_text(VMT_E_ARG, "--type %s: one of f32, bf16, f16", o->type);
    int code = cli_session_open(&s, o, false);
    if (!code) {
        const enum vmt_status status = vmt_make_random_model(s.ctx, o->operands[0], &model);
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    cli_session_close(&s);
    return code;
}

typedef struct byte_reporter {
    const cli_options *options;
    int shown; /* percent: one line of a terminal, or one JSON object each */
} byte_reporter;

static int tell_bytes(void *user, uint64_t done, uint64_t total)
{
    byte_reporter *r = user;
    const cli_options *o = r->options;
    const int percent = total ? (int)(100.0 * (double)done / (double)total) : 100;

    if (percent == r->shown || o->quiet || o->progress == CLI_PROGRESS_NONE)
        return 0;
    r->shown = percent;
    if (o->progress == CLI_PROGRESS_JSON)
        fprintf(stderr, "{\"bytes\": %llu, \"of\": %llu}\n", (unsigned long long)done,
                (unsigned long long)total);
    else if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%3d %% of %.3f GB%s", percent, (double)total / 1e9,
                done == total ? "\n" : "");
    return 0;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

int cli_convert(cli_options *o)
{
    byte_reporter reporter = {o, -1};
    cli_session s;

    if (o->operand_count != 1)
        return cli_fail_text(VMT_E_ARG, "convert needs one file of weights");
    if (!o->type)
        return cli_fail_text(VMT_E_ARG, "convert needs --type " VMT_CONVERT_TYPES);
    int code = cli_check_output(o, o->output, is_there);
    if (!code)
        code = cli_check_place(o->output);
    if (code)
        return code;
    code = cli_session_open(&s, o, false);
    if (!code) {
        const vmt_conversion conversion = {.in = o->operands[0],
                                           .out = o->output,
                                           .type = o->type,
                                           .progress = tell_bytes,
                                           .user = &reporter};
        const enum vmt_status status = vmt_convert(s.ctx, &conversion);
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    cli_session_close(&s);
    return code;
}

/* The host's backend, then the devices of backend cuda or why there are none. */
int cli_devices(cli_options *o)
{
    cli_session s;
    char *text = NULL;

    o->backend = "auto";
    int code = cli_session_open(&s, o, false);
    if (!code) {
        printf("auto is %s\n", vmt_backend_name(s.ctx));
        if (vmt_describe_devices(s.ctx, &text) == VMT_OK)
            printf("cuda: %s", text);
        else
            printf("cuda: none: %s\n", vmt_message(s.ctx));
        vmt_text_free(text);
    }
    cli_session_close(&s);
    return code;
}
