/* SPDX-License-Identifier: MIT
 *
 * The command line: the program's own options from the table below, the method's from the
 * library's.
 */
#include "cli.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, TEXT, WHOLE, REAL, BYTES, PROGRESS, LORA };

typedef struct own_option {
    char group; /* letter of the commands that take it */
    const char *name;
    char letter; /* -x, or 0 */
    const char *value, *help;
    enum kind kind;
    size_t offset;
    double low, high;
} own_option;

#define AT(member) offsetof(cli_options, member)

/* m: model files, r: reference video, w: where to begin in it, k: its frames, a: its sound, z: a
 * video for its sound alone, t: transfer and generate, e: they, extract and bench methods, n:
 * motion files, u: commands that encode prompts, o: output, c: computing, d: made-up models, h:
 * they and bench, b: bench, i: info, q: score
 */
static const own_option own[] = {
    {'m', "model", 'm', "DIR",
     "folder of a model: official Wan2.1-T2V, or one with our config.json", TEXT, AT(paths.dir), 0,
     0},
    {'m', "dit", 0, "FILE", "DiT weights, in place of the folder's", TEXT, AT(paths.dit), 0, 0},
    {'m', "dit-low", 0, "FILE",
     "DiT weights of the steps below --boundary, where a model has two (Wan2.2 A14B)", TEXT,
     AT(paths.dit_low), 0, 0},
    {'m', "vae", 0, "FILE", "VAE weights", TEXT, AT(paths.vae), 0, 0},
    {'m', "text", 0, "FILE", "text encoder weights", TEXT, AT(paths.text), 0, 0},
    {'m', "tokenizer", 0, "FILE.model", "spiece.model", TEXT, AT(paths.tokenizer), 0, 0},
    {'m', "lora", 0, "FILE[:WEIGHT]",
     "a LoRA for the transformer (weight 1); may be given several times", LORA, AT(paths.loras), 0,
     0},
    {'m', "lora-low", 0, "FILE[:WEIGHT]", "the same for the DiT of --dit-low", LORA,
     AT(paths.loras_low), 0, 0},
    {'r', "reference", 'r', "VIDEO",
     "whose motion to take: a video, a folder of pictures, or - (Y4M)", TEXT, AT(reference), 0, 0},
    {'z', "reference", 'r', "VIDEO", "the run's reference, for its sound", TEXT, AT(reference), 0,
     0},
    {'w', "start", 0, "N", "first frame of the reference that is used", WHOLE, AT(start), 0, 1e9},
    {'w', "start-seconds", 0, "X", "the same as a time", REAL, AT(start_seconds), 0, 1e6},
    {'k', "stride", 0, "N", "use every N-th frame; speed and duration stay", WHOLE, AT(stride), 1,
     1000},
    {'k', "fit", 0, "crop|pad|stretch", "how the reference gets another aspect ratio", TEXT,
     AT(fit), 0, 0},
    {'w', "damaged", 0, "error|conceal",
     "a damaged reference is refused, or taken as the decoder mends it", TEXT, AT(damaged), 0, 0},
    {'n', "motion", 0, "FILE.fvm", "motion file (extract)", TEXT, AT(motion), 0, 0},
    {'e', "embeddings", 0, "FILE.safetensors", "prompts already encoded (embed), in place of text",
     TEXT, AT(embeddings), 0, 0},
    {'u', "cache-dir", 0, "DIR|none",
     "where encoded prompts are kept for later runs (default: ~/.cache/fastvmt)", TEXT,
     AT(cache_dir), 0, 0},
    {'u', "cache-size", 0, "SIZE", "what it may hold, such as 64M or 2G (default 512M); 0: nothing",
     BYTES, AT(cache_bytes), 0, 1e15},
    {'t', "compare", 0, "VIDEO", "also write reference | result with the motion field", TEXT,
     AT(compare), 0, 0},
    {'t', "latent", 0, "FILE", "keep the final latent here (else dropped after the decode)", TEXT,
     AT(latent), 0, 0},
    {'t', "checkpoint", 0, "N", "store the run every N steps", WHOLE, AT(checkpoint), 0, 1e9},
    {'t', "checkpoint-file", 0, "FILE", "where (default: OUTPUT.state.safetensors)", TEXT,
     AT(checkpoint_file), 0, 0},
    {'t', "resume", 0, "FILE.safetensors", "go on from a stored run", TEXT, AT(resume), 0, 0},
    {'t', "preview", 0, "N", "every N steps, a picture of what the clip is coming to", WHOLE,
     AT(preview), 1, 1e9},
    {'t', "preview-path", 0, "FILE", "where, .png or .ppm (default: OUTPUT.preview.png)", TEXT,
     AT(preview_path), 0, 0},
    {'t', "plan", 0, NULL, "print sizes and memory, then stop", FLAG, AT(plan), 0, 0},
    {'o', "output", 'o', "FILE", "where the result goes", TEXT, AT(output), 0, 0},
    {'o', "force", 'y', NULL, "overwrite existing files", FLAG, AT(overwrite), 0, 0},
    {'a', "no-audio", 0, NULL, "leave out the reference's sound", FLAG, AT(no_audio), 0, 0},
    {'v', "codec", 0, "h264|ffv1|vp9",
     "of the output: .mp4 and .mov hold h264, .webm vp9, .mkv all (default h264); ffv1 is lossless",
     TEXT, AT(codec), 0, 0},
    {'v', "crf", 0, "N",
     "quality of the output, less is better: h264 0 to 51, vp9 0 to 63 (default 18)", WHOLE,
     AT(crf), 0, 63},
    {'s', "preset", 0, "NAME", "paper|released|tiny|wan (default: the model's own, else paper)",
     TEXT, AT(preset), 0, 0},
    {'c', "backend", 0, "NAME", "cuda|cpu|ref|ref64|auto (the fastest that works here)", TEXT,
     AT(backend), 0, 0},
    {'c', "device", 0, "N", "device of backend cuda, as fastvmt devices counts them (default 0)",
     WHOLE, AT(device), 0, 1023},
    {'c', "max-vram", 0, "SIZE",
     "backend cuda: keep within so much of the device, such as 8G (default: what is free)", BYTES,
     AT(max_vram), 1, 1e15},
    {'c', "max-ram", 0, "SIZE",
     "keep within so much memory, such as 512M, mapped files not counted (default: what is free)",
     BYTES, AT(max_ram), 1, 1e15},
    {'c', "nondeterministic", 0, NULL,
     "backend cuda: a faster backward of attention; two runs differ in their last bits", FLAG,
     AT(nondeterministic), 0, 0},
    {'c', "dtype", 0, "NAME", "f32|bf16|auto: activations (auto: bf16 on cuda, else f32)", TEXT,
     AT(dtype), 0, 0},
    {'c', "threads", 0, "N", "threads (default: every core)", WHOLE, AT(threads), 0, 4096},
    {'g', "progress", 0, "bar|json|none", "how to report progress on stderr", PROGRESS,
     AT(progress), 0, 0},
    {'g', "quiet", 'q', NULL, "print errors only", FLAG, AT(quiet), 0, 0},
    {'g', "verbose", 'v', NULL, "print what is opened and chosen", FLAG, AT(verbose), 0, 0},
    {'g', "help", 'h', NULL, "this help", FLAG, AT(help), 0, 0},
    {'i', "check", 0, NULL, "read a model's files whole: checksums of .pth, NaN and infinity", FLAG,
     AT(check), 0, 0},
    {'h', "shape", 0, "NAME", "tiny|1.3b|14b", TEXT, AT(shape), 0, 0},
    {'d', "text-shape", 0, "NAME", "small|xxl (default: small for tiny)", TEXT, AT(text_shape), 0,
     0},
    {'d', "vae-shape", 0, "NAME", "small|wan (default: small for tiny)", TEXT, AT(vae_shape), 0, 0},
    {'d', "tokenizer", 0, "FILE.model", "spiece.model to copy into the folder", TEXT,
     AT(paths.tokenizer), 0, 0},
    {'d', "type", 0, "f32|bf16|f16", "of the transformer's weights (default f32, the official)",
     TEXT, AT(type), 0, 0},
    {'d', "two-transformers", 0, NULL, "one for high and one for low noise, as Wan2.2 A14B has",
     FLAG, AT(two_transformers), 0, 0},
    {'d', "layers", 0, "N", "fewer DiT blocks than the shape has", WHOLE, AT(layers), 1, 1000},
    {'f', "type", 0, "bf16|f16|fp8|fp8_scaled|q8_0|q4_k",
     "of the matrices: bf16, f16, fp8, fp8_scaled (ComfyUI's) in safetensors, q8_0, q4_k in GGUF",
     TEXT, AT(type), 0, 0},
    {'b', "parts", 0, "LIST",
     "some of dit,block,attention,text,encode,decode,load,memory,ops (default: all but ops)", TEXT,
     AT(parts), 0, 0},
    {'b', "runs", 0, "N",
     "measured runs of each row (default 5; of a transfer 1, guided steps of methods 1)", WHOLE,
     AT(runs), 1, 1000},
    {'b', "full", 0, NULL,
     "every block, layer and frame (default: 4 blocks, 2 layers, 5 frames); of methods every step",
     FLAG, AT(full), 0, 0},
    {'b', "op", 0, "LIST", "of ops these alone, such as attention,attention_local", TEXT, AT(op), 0,
     0},
    {'b', "json", 0, NULL, "print JSON", FLAG, AT(json), 0, 0},
    {'b', "output", 'o', "DIR", "of table and reuse: the folder of results and report", TEXT,
     AT(output), 0, 0},
    {'b', "jobs", 0, "N", "of table: cases that run at once, a process each (default 1)", WHOLE,
     AT(jobs), 1, 1024},
    {'b', "shard", 0, "I/N", "of table: every N-th case from the I-th on, for several machines",
     TEXT, AT(shard), 0, 0},
    {'b', "videos", 0, "mp4|gif|y4m|none", "of table: how results are kept (default mp4, else gif)",
     TEXT, AT(videos), 0, 0},
    {'b', "clip", 0, "DIR", "of table: CLIP weights of yours, for cases that ask for their scores",
     TEXT, AT(clip), 0, 0},
    {'b', "list", 0, NULL, "of table: print what would run, and how long it would take", FLAG,
     AT(list), 0, 0},
    {'b', "report", 0, NULL, "of table: only write the report of the results that are there", FLAG,
     AT(report), 0, 0},
    {'q', "clip", 0, "DIR",
     "CLIP weights of yours (model.safetensors, vocab.json, merges.txt): scores of text and frames",
     TEXT, AT(clip), 0, 0},
    {'q', "json", 0, NULL, "print JSON", FLAG, AT(json), 0, 0},
    {'q', "picture", 0, "FILE", "also draw tracks and flow of both side by side, .png or .ppm",
     TEXT, AT(picture), 0, 0},
    {'q', "video", 0, "VIDEO", "the same of every frame", TEXT, AT(video), 0, 0},
    {'q', "force", 'y', NULL, "overwrite existing files", FLAG, AT(overwrite), 0, 0},
    {'d', "random-seed", 0, "N", "seed of the weights", WHOLE, AT(seed_models), 0, 1e15},
};

enum { OWN = sizeof own / sizeof *own };

static bool takes(const cli_command *command, char group)
{
    return strchr(command->groups, group) != NULL;
}

bool cli_takes_operands(const cli_command *command)
{
    return takes(command, 'x');
}

/* Edit distance, capped: words are short. */
static int distance(const char *a, const char *b)
{
    int row[64];
    const size_t length = strlen(b);

    if (length >= 63)
        return 99;
    for (size_t j = 0; j <= length; j++)
        row[j] = (int)j;
    for (size_t i = 1; *a; i++, a++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= length; j++) {
            const int replaced = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            int best = replaced < row[j] + 1 ? replaced : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[length];
}

const char *cli_nearest(const char *word, const char *const *known, int count)
{
    const char *nearest = NULL;
    int least = 4;

    for (int i = 0; i < count; i++) {
        const int d = distance(word, known[i]);
        if (d < least) {
            least = d;
            nearest = known[i];
        }
    }
    return nearest;
}

static enum vmt_status unknown(const cli_command *command, const char *name, char *message,
                               size_t size)
{
    const char *known[256];
    const vmt_option *option;
    int count = 0;

    for (int i = 0; i < OWN; i++)
        if (takes(command, own[i].group))
            known[count++] = own[i].name;
    for (size_t i = 0; takes(command, 's') && (option = vmt_option_at(i)) && count < 256; i++)
        known[count++] = option->name;
    const char *near = cli_nearest(name, known, count);
    snprintf(message, size, "%s knows no option --%s%s%s; see fastvmt %s --help", command->name,
             name, near ? ": did you mean --" : "", near ? near : "", command->name);
    return VMT_E_ARG;
}

static bool parse_number(const own_option *o, const char *text, double *value)
{
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    return end != text && !*end && !errno && *value >= o->low && *value <= o->high &&
           (o->kind == REAL || (double)(int64_t)*value == *value);
}

/* A size: a number, and K, M or G for 1024 of the one before it, B or iB behind them or not. */
static bool parse_bytes(const own_option *o, const char *text, double *value)
{
    static const char units[] = "KMG";
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    if (end == text || errno)
        return false;
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        *value *= 1024;
    end += unit != NULL;
    if (*end && strcmp(end, "B") != 0 && !(unit && !strcmp(end, "iB")))
        return false;
    return *value >= o->low && *value <= o->high;
}

static enum vmt_status add_lora(const char **loras, const char *text, char *message, size_t size)
{
    int i = 0;

    while (i < VMT_MAX_LORAS && loras[i])
        i++;
    if (i == VMT_MAX_LORAS) {
        snprintf(message, size, "more than %d times --lora or --lora-low", VMT_MAX_LORAS);
        return VMT_E_ARG;
    }
    loras[i] = text;
    return VMT_OK;
}

static enum vmt_status set_own(cli_options *options, const own_option *o, const char *text,
                               char *message, size_t size)
{
    char *field = (char *)options + o->offset;
    double number;

    switch (o->kind) {
    case FLAG:
        *(bool *)(void *)field = true;
        return VMT_OK;
    case TEXT:
        *(const char **)(void *)field = text;
        return VMT_OK;
    case WHOLE:
    case REAL:
        if (!parse_number(o, text, &number)) {
            snprintf(message, size, "--%s %s: %s number from %g to %g", o->name, text,
                     o->kind == WHOLE ? "a whole" : "a", o->low, o->high);
            return VMT_E_ARG;
        }
        if (o->kind == WHOLE)
            *(int64_t *)(void *)field = (int64_t)number;
        else
            *(double *)(void *)field = number;
        return VMT_OK;
    case BYTES:
        if (!parse_bytes(o, text, &number)) {
            snprintf(message, size, "--%s %s: a size, such as 64M or 2G", o->name, text);
            return VMT_E_ARG;
        }
        *(int64_t *)(void *)field = (int64_t)number;
        return VMT_OK;
    case LORA:
        return add_lora((const char **)(void *)field, text, message, size);
    case PROGRESS:
        for (int i = 0; i < 3; i++)
            if (!strcmp(text, ((const char *const[]){"bar", "json", "none"})[i])) {
                options->progress = (enum cli_progress)i;
                return VMT_OK;
            }
        snprintf(message, size, "--%s %s: one of %s", o->name, text, o->value);
        return VMT_E_ARG;
    }
    return VMT_E_INTERNAL;
}

/* -p and -n are the program's: the library's options have names only. */
char cli_setting_letter(const char *name)
{
    return !strcmp(name, "prompt") ? 'p' : !strcmp(name, "negative") ? 'n' : 0;
}

/* Rows of the library's table: kept until the preset is known. */
static const vmt_option *find_setting(const char *name, char letter)
{
    const vmt_option *option;

    for (size_t i = 0; (option = vmt_option_at(i)); i++)
        if (name[0] ? !strcmp(option->name, name) : cli_setting_letter(option->name) == letter)
            return option;
    return NULL;
}

static const own_option *find_own(const cli_command *command, const char *name, char letter)
{
    for (int i = 0; i < OWN; i++)
        if (takes(command, own[i].group) &&
            (name ? !strcmp(own[i].name, name) : own[i].letter == letter && letter))
            return &own[i];
    return NULL;
}

/* One argument that begins with "-"; *i moves past its value. */
static enum vmt_status parse_option(cli_options *options, const cli_command *command, int *i,
                                    char *message, size_t size)
{
    const char *arg = options->argv[*i];
    const bool is_long = arg[1] == '-';
    char name[64];
    const char *equals = is_long ? strchr(arg, '=') : NULL, *value = equals ? equals + 1 : NULL;

    if (!is_long && arg[2]) {
        snprintf(message, size, "%s: letters stand alone, as in -o FILE", arg);
        return VMT_E_ARG;
    }
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - arg - 2) : 60,
             is_long ? arg + 2 : "");
    const own_option *o = find_own(command, name[0] ? name : NULL, arg[1]);
    const vmt_option *setting = !o && takes(command, 's') ? find_setting(name, arg[1]) : NULL;
    if (!o && !setting)
        return unknown(command, name[0] ? name : arg + 1, message, size);
    if (o && o->kind == FLAG && value) {
        snprintf(message, size, "--%s takes no value", o->name);
        return VMT_E_ARG;
    }
    if (!value && !(o && o->kind == FLAG)) {
        if (*i + 1 >= options->argc) {
            snprintf(message, size, "%s needs a value: %s", arg, o ? o->value : setting->value);
            return VMT_E_ARG;
        }
        value = options->argv[++*i];
    }
    if (o)
        return set_own(options, o, value, message, size);
    if (options->setting_count == CLI_MAX_SETTINGS) {
        snprintf(message, size, "more than %d settings", CLI_MAX_SETTINGS);
        return VMT_E_ARG;
    }
    options->settings[options->setting_count++] = (cli_setting){setting->name, value};
    return VMT_OK;
}

enum vmt_status cli_parse(cli_options *options, const cli_command *command, int argc, char **argv,
                          char *message, size_t size)
{
    bool only_operands = false;

    *options = (cli_options){.command = command->name,
                             .crf = MEDIA_DEFAULT_CRF,
                             .keeps_prompts = takes(command, 'u'),
                             .cache_bytes = -1,
                             .stride = 1,
                             .argc = argc,
                             .argv = argv};
    for (int i = 2; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_operands && !strcmp(arg, "--")) {
            only_operands = true;
        } else if (!only_operands && arg[0] == '-' && arg[1]) {
            const enum vmt_status status = parse_option(options, command, &i, message, size);
            if (status != VMT_OK)
                return status;
        } else if (options->operand_count == CLI_MAX_OPERANDS || !cli_takes_operands(command)) {
            snprintf(message, size, "%s takes no \"%s\"; see fastvmt %s --help", command->name, arg,
                     command->name);
            return VMT_E_ARG;
        } else {
            options->operands[options->operand_count++] = arg;
        }
    }
    return VMT_OK;
}

bool cli_option_at(const cli_command *command, int index, cli_option *option)
{
    for (int i = 0; i < OWN; i++)
        if (takes(command, own[i].group) && index-- == 0) {
            *option = (cli_option){own[i].letter, own[i].name, own[i].value, own[i].help, ""};
            return true;
        }
    const vmt_option *setting = takes(command, 's') ? vmt_option_at((size_t)index) : NULL;
    if (!setting)
        return false;
    *option = (cli_option){cli_setting_letter(setting->name), setting->name, setting->value,
                           setting->help, setting->section};
    return true;
}

void cli_print_options(const cli_command *command, FILE *to)
{
    const char *section = "";
    cli_option o;

    fputs("\nOptions\n", to);
    for (int i = 0; cli_option_at(command, i, &o); i++) {
        char left[64];
        if (strcmp(section, o.section))
            fprintf(to, "\n%s\n", o.section);
        section = o.section;
        snprintf(left, sizeof left, "%c%c%s --%s %s", o.letter ? '-' : ' ',
                 o.letter ? o.letter : ' ', o.letter ? "," : " ", o.name, o.value ? o.value : "");
        fprintf(to, "  %-32s %s\n", left, o.help);
    }
}
