/* SPDX-License-Identifier: MIT */
#include "bad_input.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bad_input_check(const char *label, int code, const char *text, const char *const *arguments)
{
    enum { TIMEOUT = 120 };
    const int before = folder_count(".");
    cli_result result = cli_run(arguments, TIMEOUT);

    cli_check_refused(label, &result, code, text);
    if (folder_count(".") != before)
        fail_msg("%s: %d entries in the folder, %d before", label, folder_count("."), before);
}

void write_y4m(const char *path, const char *header, int frames, size_t frame_bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    fprintf(file, "%s\n", header);
    for (int t = 0; t < frames; t++) {
        fputs("FRAME\n", file);
        for (size_t i = 0; i < frame_bytes; i++)
            fputc((int)((i + 3 * (size_t)t) % 200) + 20, file);
    }
    assert_int_equal(fclose(file), 0);
}

void write_reference(void)
{
    write_y4m(REFERENCE, "YUV4MPEG2 W64 H48 F16:1 Ip A1:1 C444", 9, 3 * 64 * 48);
}

void write_safetensors(const char *path, const char *header, size_t data_bytes)
{
    const uint64_t length = strlen(header);
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        fputc((int)(length >> (8 * i) & 255), file);
    fputs(header, file);
    for (size_t i = 0; i < data_bytes; i++)
        fputc(0, file);
    assert_int_equal(fclose(file), 0);
}

void link_model(const char *folder, const char *but)
{
    static const char *const files[] = {"dit.safetensors", "vae.safetensors", "text.safetensors",
                                        "spiece.model", "config.json"};
    char path[256], target[4096];

    folder_new(folder);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (but && strcmp(files[i], but) == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        snprintf(target, sizeof target, MODEL "/%s", files[i]);
        assert_int_equal(symlink(target, path), 0);
    }
}

void write_start(const char *path, const char *from, size_t length)
{
    size_t all;
    unsigned char *bytes = file_read(from, &all);

    assert_true(length <= all);
    file_write(path, bytes, length);
    free(bytes);
}

void write_with_element(const char *path, const char *from, const char *tensor, unsigned bits)
{
    size_t length;
    uint64_t header = 0;
    unsigned char *bytes = file_read(from, &length);

    for (int i = 0; i < 8; i++)
        header |= (uint64_t)bytes[i] << (8 * i);
    cJSON *root = cJSON_ParseWithLength((const char *)bytes + 8, header);
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(root, tensor);
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsArray(offsets))
        fail_msg("%s has no tensor %s", from, tensor);
    const size_t start = 8 + header + (size_t)cJSON_GetArrayItem(offsets, 0)->valuedouble;
    bytes[start + 6] = bits & 255;
    bytes[start + 7] = bits >> 8 & 255;
    cJSON_Delete(root);
    file_write(path, bytes, length);
    free(bytes);
}
