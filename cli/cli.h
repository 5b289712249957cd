/* SPDX-License-Identifier: MIT
 *
 * What the files of the program share.  The program is a thin user of fastvmt.h and media.h.
 */
#ifndef CLI_H
#define CLI_H

#include "fastvmt/fastvmt.h"
#include "media/media.h"

#include <stdbool.h>
#include <stdio.h>

enum cli_progress { CLI_PROGRESS_BAR, CLI_PROGRESS_JSON, CLI_PROGRESS_NONE };

enum { CLI_MAX_SETTINGS = 128, CLI_MAX_OPERANDS = 64 };

/* A library setting given on the command line, applied after the preset. */
typedef struct cli_setting {
    const char *name, *value;
} cli_setting;

/* The command line, parsed.  Strings are argv's. */
typedef struct cli_options {
    const char *command; /* "transfer", … */
    vmt_model_paths paths;
    const char *reference, *motion, *embeddings, *output, *preset, *backend, *dtype;
    const char *compare, *latent, *checkpoint_file, *resume, *fit, *damaged, *codec;
    const char *preview_path, *cache_dir;
    const char *shape, *text_shape, *vae_shape; /* make-model */
    const char *type;                           /* convert */
    int64_t threads, device, start, stride, crf, checkpoint, preview, seed_models, layers;
    int64_t cache_bytes; /* -1: the library's choice */
    bool keeps_prompts;  /* of the command: encodes prompts, and may take them from a run before */
    int64_t max_vram, max_ram; /* bytes; 0: none */
    double start_seconds;
    bool nondeterministic, two_transformers;
    bool check, plan, quiet, verbose, overwrite, help, no_audio;
    enum cli_progress progress;
    cli_setting settings[CLI_MAX_SETTINGS];
    int setting_count;
    const char *parts, *op; /* bench; shape too */
    int64_t runs;
    bool full, json;
    int64_t jobs; /* bench table */
    const char *shard, *videos;
    bool list, report;
    const char *picture, *video, *clip;     /* score */
    const char *operands[CLI_MAX_OPERANDS]; /* what is no option */
    int operand_count;
    int argc;
    char **argv;
} cli_options;

typedef struct cli_command {
    const char *name, *usage, *about, *examples;
    int (*run)(cli_options *options);
    const char *groups; /* letters of the option groups it takes; see option_groups in args.c */
} cli_command;

/* All commands; the last has no name. */
extern const cli_command cli_commands[];

/* ---- args.c */

/* Parses argv[2..]; VMT_OK or VMT_E_ARG with one line in `message`. */
enum vmt_status cli_parse(cli_options *options, const cli_command *command, int argc, char **argv,
                          char *message, size_t size);
void cli_print_options(const cli_command *command, FILE *to);

/* One option as help, manual and completion show it. */
typedef struct cli_option {
    char letter;                     /* -x, or 0 */
    const char *name, *value, *help; /* value: placeholder, NULL for a flag */
    const char *section;             /* of the library's options; "" for the program's own */
} cli_option;

/* Option `index` of a command: the program's own, then the library's; false past the last. */
bool cli_option_at(const cli_command *command, int index, cli_option *option);
/* Letter of an option of the library's, or 0: those have names only. */
char cli_setting_letter(const char *name);
bool cli_takes_operands(const cli_command *command);

/* Nearest known word to a mistyped one, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *known, int count);

/* ---- help.c */
extern const char cli_exit_codes[];                        /* lines */
void cli_print_help(const cli_command *command, FILE *to); /* NULL: the program's */

/* ---- progress.c */
typedef struct cli_reporter {
    enum cli_progress kind;
    bool terminal, open_line;
    double last_shown;
    enum vmt_phase phase;
    bool started;
    double phase_start;
    double phase_seconds[VMT_PHASE_COUNT];
    uint64_t memory_peak, memory_planned, memory_taken;
    int64_t forwards, reused_forwards;
    int64_t gradients, inner_steps; /* computed; of all guided steps so far */
} cli_reporter;

void cli_reporter_init(cli_reporter *reporter, const cli_options *options);
int cli_reporter_tell(void *reporter, const vmt_progress *progress); /* a vmt_progress_fn */
/* Ends the phase at hand and the line. */
void cli_reporter_finish(cli_reporter *reporter, double seconds);
/* "; memory: planned 113 MiB, taken 101 MiB" on stderr; taken 0: not known. */
void cli_print_memory(uint64_t planned, uint64_t taken);

/* ---- session.c: context, model and settings of a run; signals; errors */
typedef struct cli_session {
    cli_options *options;
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    double reference_start; /* time of its first used frame by its own clock */
} cli_session;

/* Opens a context, and the model if `with_model`; fills the settings.  Prints what failed.
 * Returns 0 or the exit code; close in any case. */
int cli_session_open(cli_session *session, cli_options *options, bool with_model);
void cli_session_close(cli_session *session);
/* session->settings anew, as the options say; method: in place of theirs, or NULL. */
enum vmt_status cli_fill_settings(cli_session *session, const char *method);
/* The reference as the options say, and when it begins; `limited`: where no size or count was asked
 * for, no larger and no longer than what the model was made for. */
enum vmt_status cli_read_reference(cli_session *session, vmt_clip *clip, bool limited);
/* Where to begin in a reference and how to take it; size, rate and length are the caller's. */
media_read_options cli_reference_options(cli_session *session);
enum media_fit cli_fit(const cli_options *options);
/* When it begins alone, for runs that need no frames of it. */
enum vmt_status cli_find_start(cli_session *session);
/* How the result is written: codec, quality, and the reference's sound if one is named. */
media_write_options cli_write_options(const cli_session *session);
/* Prints the context's message as the one error line; returns the exit code. */
int cli_fail(const cli_session *session, enum vmt_status status);
/* The same for a text of the program's own. */
int cli_fail_text(enum vmt_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Refuses an output that is not named or, without -y, is `there` already: prints, returns the exit
 * code, or 0. */
int cli_check_output(const cli_options *options, const char *path, bool (*there)(const char *));

/* Refuses, before any work is done, a place where no file can be made: prints, returns the exit
 * code, or 0. */
int cli_check_place(const char *path);

/* ---- result.c: the JSON beside a result */
/* Settings, command and files of a run as JSON text (free with free), or NULL. */
char *cli_result_json(const cli_session *session, const cli_reporter *reporter);
/* Prints a text that cJSON made and frees it; NULL: says that memory ran out.  The exit code. */
int cli_print_json(char *text);
int cli_write_text(const cli_session *session, const char *path, const char *text);
/* Quoted for a shell when it needs to be. */
void cli_print_word(const char *word, FILE *to);
/* Prints the command line that such a JSON describes; false when it is no such JSON. */
bool cli_print_command(const char *json, FILE *to);

/* ---- commands */
int cli_transfer(cli_options *options); /* transfer and generate */
int cli_extract(cli_options *options);
int cli_show(cli_options *options);
int cli_encode(cli_options *options);
int cli_decode(cli_options *options);
int cli_embed(cli_options *options);
int cli_info(cli_options *options);
int cli_probe(cli_options *options);
int cli_make_model(cli_options *options);
int cli_convert(cli_options *options);
int cli_bench(cli_options *options);
int cli_bench_methods(cli_options *options);
int cli_table(cli_options *options);       /* bench table */
int cli_bench_reuse(cli_options *options); /* bench reuse */
int cli_score(cli_options *options);
int cli_completion(cli_options *options);
int cli_manual(cli_options *options);
int cli_devices(cli_options *options);
int cli_methods(cli_options *options);

#endif
