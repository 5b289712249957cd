// SPDX-License-Identifier: MIT
#include "text/sentencepiece_shim.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

struct vmt_spiece {
    sentencepiece::SentencePieceProcessor processor;
};

namespace
{

/* Some of its parts catch std::bad_alloc and throw it on as a text. */
void say(char *message, const char *text)
{
    const bool no_memory = std::strstr(text, "bad_alloc") != nullptr;
    std::snprintf(message, VMT_SPIECE_MESSAGE_BYTES, "%s", no_memory ? "" : text);
}

} // namespace

vmt_spiece *vmt_spiece_open(const void *bytes, size_t length, char *message)
try {
    auto model = std::make_unique<vmt_spiece>();
    const auto status = model->processor.LoadFromSerializedProto(
        std::string_view(static_cast<const char *>(bytes), length));
    if (!status.ok()) {
        say(message, status.ToString().c_str());
        return nullptr;
    }
    return model.release();
} catch (const std::exception &error) {
    say(message, error.what());
    return nullptr;
}

void vmt_spiece_close(vmt_spiece *model)
{
    delete model;
}

int64_t vmt_spiece_find(const vmt_spiece *model, const char *piece)
try {
    return model->processor.PieceToId(piece);
} catch (const std::exception &) {
    return -1;
}

int vmt_spiece_encode(const vmt_spiece *model, const char *text, size_t length, int32_t *ids,
                      size_t room, size_t *count, char *message)
try {
    std::vector<int> pieces;
    const auto status = model->processor.Encode(std::string_view(text, length), &pieces);
    if (!status.ok()) {
        say(message, status.ToString().c_str());
        return -1;
    }
    *count = pieces.size();
    std::copy_n(pieces.begin(), std::min(room, pieces.size()), ids);
    return 0;
} catch (const std::exception &error) {
    say(message, error.what());
    return -1;
}
