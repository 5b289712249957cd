/* SPDX-License-Identifier: MIT
 *
 * Preloaded into the program: a libav that was built without the encoders and decoders named in
 * WITHOUT_CODECS, such as "libx264 png".
 */
#include <libavcodec/avcodec.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef const AVCodec *find_by_name(const char *name);
typedef const AVCodec *find_by_id(enum AVCodecID id);

static bool is_missing(const AVCodec *codec)
{
    const char *list = getenv("WITHOUT_CODECS");
    const size_t length = codec ? strlen(codec->name) : 0;

    while (codec && list && (list = strstr(list, codec->name))) {
        if (list[length] == ' ' || !list[length])
            return true;
        list += length;
    }
    return false;
}

/* ISO C has no cast from object to function. */
static void next(const char *symbol, void *function, size_t size)
{
    void *found = dlsym(RTLD_NEXT, symbol);

    if (!found)
        abort();
    memcpy(function, &found, size);
}

const AVCodec *avcodec_find_encoder_by_name(const char *name)
{
    find_by_name *find;

    next("avcodec_find_encoder_by_name", &find, sizeof find);
    const AVCodec *codec = find(name);
    return is_missing(codec) ? NULL : codec;
}

const AVCodec *avcodec_find_encoder(enum AVCodecID id)
{
    find_by_id *find;

    next("avcodec_find_encoder", &find, sizeof find);
    const AVCodec *codec = find(id);
    return is_missing(codec) ? NULL : codec;
}

const AVCodec *avcodec_find_decoder(enum AVCodecID id)
{
    find_by_id *find;

    next("avcodec_find_decoder", &find, sizeof find);
    const AVCodec *codec = find(id);
    return is_missing(codec) ? NULL : codec;
}
