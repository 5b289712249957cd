/* SPDX-License-Identifier: MIT
 *
 * Kept rows of prompts: found again as they were, never for anything else, whatever became of the
 * file; and no more of them than asked for.
 */
#include "cli_run.h"

#include "text/prompt_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MODEL SOURCE_ROOT "/models/tiny/"
#define FOLDER "prompt_cache"

enum { DIM = 8, ROWS = 3 };

enum { MOST = 8, PATH = 512 };

static char known[MOST][PATH]; /* entries seen so far, of this test */
static int known_count;

typedef struct fixture {
    vmt_ctx *ctx;
    vmt_tensor_file *file;
    vmt_text_config config;
    vmt_prompt_encoder encoder;
    float rows[ROWS * DIM];
    int warnings;
} fixture;

static void count_warnings(void *user, enum vmt_log_level level, const char *line)
{
    (void)line;
    *(int *)user += level == VMT_LOG_WARNING;
}

static void open_fixture(fixture *f)
{
    *f = (fixture){.ctx = test_ctx_open("ref", NULL)};
    folder_remove(FOLDER);
    known_count = 0;
    static char folder[] = FOLDER;
    f->ctx->cache_dir = folder;
    f->ctx->cache_bytes = 1 << 20;
    f->ctx->log = count_warnings;
    f->ctx->log_user = &f->warnings;
    CHECK_OK(f->ctx, vmt_tensor_file_open(f->ctx, &f->file, MODEL "text.safetensors"));
    f->config = (vmt_text_config){.vocab = 100, .dim = DIM, .layers = 2, .text_len = 4};
    f->encoder = (vmt_prompt_encoder){f->file, "a hash", MODEL "spiece.model", &f->config};
    for (int i = 0; i < ROWS * DIM; i++)
        f->rows[i] = (float)(i + 1) / 7;
}

static void close_fixture(fixture *f)
{
    f->ctx->cache_dir = NULL;
    vmt_tensor_file_close(f->file);
    test_ctx_close(f->ctx);
    folder_remove(FOLDER);
}

static vmt_prompt_cache open_cache(fixture *f)
{
    vmt_prompt_cache cache;

    CHECK_OK(f->ctx, vmt_prompt_cache_open(f->ctx, &cache, &f->encoder));
    return cache;
}

static void keep(fixture *f, const char *text)
{
    const vmt_prompt prompt = {.rows = f->rows, .count = ROWS, .dim = DIM};
    vmt_prompt_cache cache = open_cache(f);

    vmt_prompt_cache_keep(f->ctx, &cache, &prompt, text);
    vmt_prompt_cache_close(&cache);
}

/* Whether the text is found; what is found is what was kept. */
static bool finds_in(fixture *f, const vmt_prompt_cache *cache, const char *text)
{
    vmt_prompt prompt;

    CHECK_OK(f->ctx, vmt_prompt_cache_find(f->ctx, cache, &prompt, text));
    const bool found = prompt.rows != NULL;
    if (found) {
        assert_int_equal(prompt.count, ROWS);
        assert_int_equal(prompt.dim, DIM);
        assert_memory_equal(prompt.rows, f->rows, sizeof f->rows);
    }
    vmt_prompt_free(&prompt);
    return found;
}

static bool finds(fixture *f, const char *text)
{
    vmt_prompt_cache cache = open_cache(f);
    const bool found = finds_in(f, &cache, text);

    vmt_prompt_cache_close(&cache);
    return found;
}

/* The path of the entry that was not there before. */
static const char *new_entry(void)
{
    DIR *folder = opendir(FOLDER "/prompts");
    char path[PATH];

    assert_non_null(folder);
    for (struct dirent *d = readdir(folder); d; d = readdir(folder)) {
        bool is_known = d->d_name[0] == '.';
        snprintf(path, sizeof path, FOLDER "/prompts/%.400s", d->d_name);
        for (int i = 0; i < known_count; i++)
            is_known |= !strcmp(known[i], path);
        if (is_known)
            continue;
        assert_true(known_count < MOST);
        memcpy(known[known_count++], path, sizeof path);
        closedir(folder);
        return known[known_count - 1];
    }
    fail_msg("no new entry");
    return NULL;
}

static void finds_what_was_kept(void **state)
{
    fixture f;

    (void)state;
    open_fixture(&f);
    assert_false(finds(&f, "a cat"));
    assert_false(file_exists(FOLDER)); /* looking makes nothing */
    keep(&f, "a cat");
    keep(&f, NULL);
    assert_true(finds(&f, "a cat"));
    assert_true(finds(&f, "  a\tcat ")); /* the same once it is cleaned */
    assert_true(finds(&f, ""));
    assert_false(finds(&f, "a Cat"));
    assert_int_equal(folder_count(FOLDER "/prompts"), 2);
    assert_int_equal(f.warnings, 0);
    f.ctx->cache_dir = NULL;
    assert_false(finds(&f, "a cat"));
    close_fixture(&f);
}

/* Each of these decides the rows' bits; leaving it out of the key turns this red. */
static void finds_nothing_of_another_encoder(void **state)
{
    fixture f;
    struct stat info;

    (void)state;
    open_fixture(&f);
    file_copy("encoder.safetensors", MODEL "text.safetensors");
    vmt_tensor_file_close(f.file);
    CHECK_OK(f.ctx, vmt_tensor_file_open(f.ctx, &f.file, "encoder.safetensors"));
    f.encoder.file = f.file;
    keep(&f, "a cat");
#define OTHER(field, value)                                                                        \
    do {                                                                                           \
        const __typeof__(f.field) before = f.field;                                                \
        f.field = (value);                                                                         \
        if (finds(&f, "a cat"))                                                                    \
            fail_msg("found with another %s", #field);                                             \
        f.field = before;                                                                          \
        assert_true(finds(&f, "a cat"));                                                           \
    } while (0)
    OTHER(encoder.hash, "another");
    OTHER(encoder.tokenizer, MODEL "config.json");
    OTHER(config.text_len, 5);
    OTHER(config.eps, 1);
    OTHER(config.heads, 7);
    OTHER(ctx->threads, 9);
    OTHER(ctx->act, VMT_BF16);
    vmt_ops renamed = *f.ctx->ops;
    renamed.name = "another";
    OTHER(ctx->ops, &renamed);
    f.ctx->machine[0] = 'x';
    assert_false(finds(&f, "a cat"));
    f.ctx->machine[0] = '\0';
    /* a file that was written since, of the same size and with the same samples */
    assert_int_equal(stat("encoder.safetensors", &info), 0);
    const struct timespec later[2] = {info.st_atim, {info.st_mtim.tv_sec + 1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, "encoder.safetensors", later, 0), 0);
    assert_false(finds(&f, "a cat"));
    remove("encoder.safetensors");
    close_fixture(&f);
}

/* Cut anywhere, or with any byte changed: ignored (or as it was, where nobody reads the byte); and
 * kept anew. */
static void damaged_entries_are_ignored(void **state)
{
    fixture f;
    size_t length, kept = 0;

    (void)state;
    open_fixture(&f);
    keep(&f, "a cat");
    const char *path = new_entry();
    unsigned char *bytes = file_read(path, &length);
    vmt_prompt_cache cache = open_cache(&f);
    for (size_t i = 0; i < length; i++) {
        file_write(path, bytes, i);
        assert_false(finds_in(&f, &cache, "a cat"));
        bytes[i] ^= 1;
        file_write(path, bytes, length);
        kept += finds_in(&f, &cache, "a cat");
        bytes[i] ^= 1;
    }
    vmt_prompt_cache_close(&cache);
    assert_true(kept < 40); /* the name and value of "format", blanks after the header */
    file_write(path, bytes, length);
    keep(&f, "a dog");
    assert_true(finds(&f, "a cat"));
    folder_remove(path);
    file_copy(path, new_entry()); /* whole, and of another prompt */
    assert_false(finds(&f, "a cat"));
    keep(&f, "a cat");
    assert_true(finds(&f, "a cat"));
    assert_int_equal(f.warnings, 0);
    free(bytes);
    close_fixture(&f);
}

static void age(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Room for three: the one used longest ago goes, and nothing that is not ours. */
static void the_limit_holds(void **state)
{
    static const char *const texts[] = {"one", "two", "three"};
    static const char foreign[] = FOLDER "/prompts/notes.safetensors";
    char abandoned[PATH + 16];
    struct stat info;
    fixture f;

    (void)state;
    open_fixture(&f);
    for (int i = 0; i < 3; i++) {
        keep(&f, texts[i]);
        age(new_entry(), 1000 - 100 * i);
    }
    file_write(foreign, "mine", 4);
    age(foreign, 5000);
    snprintf(abandoned, sizeof abandoned, "%s.part-1-0", known[0]);
    file_write(abandoned, "half", 4);
    age(abandoned, 2 * 24 * 60 * 60);
    assert_true(finds(&f, "one")); /* used now */
    assert_int_equal(stat(known[0], &info), 0);
    f.ctx->cache_bytes = 3 * (uint64_t)info.st_size + 200; /* lengths differ by a digit or two */
    keep(&f, "four");
    assert_true(finds(&f, "one"));
    assert_false(finds(&f, "two"));
    assert_true(finds(&f, "three"));
    assert_true(finds(&f, "four"));
    assert_true(file_exists(foreign));
    assert_false(file_exists(abandoned));
    f.ctx->cache_bytes = 100; /* no room for any: nothing is kept, nothing is said */
    keep(&f, "five");
    assert_false(finds(&f, "five"));
    assert_int_equal(f.warnings, 0);
    close_fixture(&f);
}

/* Said once, and no error. */
static void a_folder_that_cannot_be_made(void **state)
{
    fixture f;

    (void)state;
    open_fixture(&f);
    file_write(FOLDER, "a file", 6);
    const vmt_prompt prompt = {.rows = f.rows, .count = 1, .dim = DIM};
    vmt_prompt_cache cache = open_cache(&f);
    vmt_prompt_cache_keep(f.ctx, &cache, &prompt, "a cat");
    vmt_prompt_cache_keep(f.ctx, &cache, &prompt, "a dog");
    vmt_prompt_cache_close(&cache);
    assert_int_equal(f.warnings, 1);
    assert_false(finds(&f, "a cat"));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_kept), cmocka_unit_test(finds_nothing_of_another_encoder),
        cmocka_unit_test(damaged_entries_are_ignored), cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(a_folder_that_cannot_be_made)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
