/* SPDX-License-Identifier: MIT */
#include "media/media_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

bool media_ends_with(const char *path, const char *ending)
{
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && !strcasecmp(path + length - tail, ending);
}

bool media_is_folder_name(const char *path)
{
    struct stat info;
    const size_t length = strlen(path);

    return (length && path[length - 1] == '/') || (!stat(path, &info) && S_ISDIR(info.st_mode));
}

/* Length of "%d" or "%0Nd" at `text`, 0 if it is none; *digits: the least to print. */
static size_t number_place(const char *text, int *digits)
{
    *digits = 1;
    if (text[0] != '%')
        return 0;
    if (text[1] == 'd')
        return 2;
    if (text[1] != '0' || text[2] < '1' || text[2] > '9' || text[3] != 'd')
        return 0;
    *digits = text[2] - '0';
    return 4;
}

bool media_is_pattern(const char *path)
{
    const char *slash = strrchr(path, '/'), *percent = strchr(path, '%');
    int digits;

    if (!percent || (slash && percent < slash))
        return false;
    const size_t length = number_place(percent, &digits);
    return length && !strchr(percent + length, '%');
}

char *media_pattern_path(const char *pattern, int64_t number)
{
    const char *percent = strchr(pattern, '%');
    const size_t size = strlen(pattern) + 32;
    char *path = malloc(size);
    int digits;

    if (!path)
        return NULL;
    const size_t length = number_place(percent, &digits);
    snprintf(path, size, "%.*s%0*" PRId64 "%s", (int)(percent - pattern), pattern, digits, number,
             percent + length);
    return path;
}

char *media_folder_pattern(const char *folder)
{
    size_t length = strlen(folder);
    char *pattern = malloc(length + 16);

    while (length > 1 && folder[length - 1] == '/')
        length--;
    if (pattern)
        snprintf(pattern, length + 16, "%.*s/%%05d.png", (int)length, folder);
    return pattern;
}

bool media_is_standard(const char *path)
{
    return !strcmp(path, "-");
}
