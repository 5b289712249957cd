/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <math.h>

/* A node takes about 64 bytes and a value at least two of text: the largest real header (1095
 * tensors) has 10,000 nodes. */
enum { MAX_NODES = 4000000 };

static size_t most_nodes(const unsigned char *bytes, size_t length)
{
    size_t count = 1;
    for (size_t i = 0; i < length; i++)
        count += bytes[i] == ',' || bytes[i] == '{' || bytes[i] == '[';
    return count;
}

enum vmt_status vmt_json_parse(vmt_ctx *ctx, cJSON **root, const void *bytes, size_t length,
                               const char *label)
{
    const char *text = bytes, *end = NULL;

    *root = NULL;
    errno = 0; /* cJSON says no more than "no": malloc tells why */
    if (most_nodes(bytes, length) > MAX_NODES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: JSON of more than %d values", label,
                        (int)MAX_NODES);
    cJSON *parsed = length ? cJSON_ParseWithLengthOpts(text, length, &end, 0) : NULL;
    if (!parsed && errno == ENOMEM)
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory for its JSON of %zu bytes", label,
                        length);
    if (!parsed)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: not valid JSON at byte %zu of %zu", label,
                        end ? (size_t)(end - text) : (size_t)0, length);
    while (end < text + length && (*end == ' ' || *end == '\n' || *end == '\r' || *end == '\t'))
        end++;
    if (end != text + length || !cJSON_IsObject(parsed)) {
        cJSON_Delete(parsed);
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: expected one JSON object in %zu bytes", label,
                        length);
    }
    *root = parsed;
    return VMT_OK;
}

bool vmt_json_int(const cJSON *item, int64_t *value)
{
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 0x1p53) ||
        floor(item->valuedouble) != item->valuedouble)
        return false;
    *value = (int64_t)item->valuedouble;
    return true;
}
