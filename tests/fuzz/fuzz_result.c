/* SPDX-License-Identifier: MIT
 *
 * The JSON beside a result, from which `info` prints the command that made it: for a terminal, in
 * one line.
 */
#include "input.h"

#include "cli.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *json = malloc(length + 1), *printed = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&printed, &size);

    if (!json || !to)
        abort();
    if (length)
        memcpy(json, bytes, length);
    json[length] = '\0';
    const bool ours = cli_print_command(json, to);
    if (fclose(to))
        abort();
    if (ours != (size > 0) || (ours && printed[size - 1] != '\n'))
        abort();
    for (size_t i = 0; i + 1 < size; i++)
        if ((unsigned char)printed[i] < 0x20 || printed[i] == 0x7f)
            abort();
    free(printed);
    free(json);
    return 0;
}
