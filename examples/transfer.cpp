// SPDX-License-Identifier: MIT
//
// Motion transfer with libfastvmt in C++17: the motion of one clip for several prompts.  What the
// reference contributes is computed once (vmt_extract) and used by every run.  Clips are rows of
// PPM pictures in one file.
//
//     c++ -std=c++17 transfer.cpp -o transfer $(pkg-config --cflags --libs fastvmt)
//     ffmpeg -i ref.mp4 -f image2pipe -c:v ppm ref.ppm
//     ./transfer models/tiny ref.ppm steps=20 -- "a red car on snow" "a cat on grass"
//     ffmpeg -f image2pipe -framerate 16 -i result1.ppm out1.mp4
//
#include <fastvmt/fastvmt.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace
{

struct Failure : std::runtime_error {
    Failure(vmt_status s, const std::string &text) : std::runtime_error(text), status(s)
    {
    }
    vmt_status status;
};

// ---- owners of what the library gives

class Context
{
  public:
    explicit Context(const vmt_config *config = nullptr)
    {
        const vmt_status status = vmt_ctx_open(&ctx_, config);
        if (status != VMT_OK) {
            const Failure failure(status, vmt_message(ctx_)); // the message is the context's
            vmt_ctx_close(ctx_);
            throw failure;
        }
    }
    ~Context()
    {
        vmt_ctx_close(ctx_);
    }
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;

    void check(vmt_status status) const
    {
        if (status != VMT_OK)
            throw Failure(status, vmt_message(ctx_));
    }
    vmt_ctx *get() const
    {
        return ctx_;
    }

  private:
    vmt_ctx *ctx_ = nullptr;
};

class Model
{
  public:
    Model(const Context &context, const std::string &dir) : context_(context)
    {
        vmt_model_paths paths{};
        paths.dir = dir.c_str();
        context.check(vmt_model_open(context.get(), &model_, &paths));
    }
    ~Model()
    {
        vmt_model_close(context_.get(), model_);
    }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    const vmt_model *get() const
    {
        return model_;
    }

  private:
    const Context &context_; // outlives the model
    vmt_model *model_ = nullptr;
};

struct ClipDeleter {
    void operator()(vmt_clip *clip) const
    {
        vmt_clip_free(clip);
        delete clip;
    }
};
using Clip = std::unique_ptr<vmt_clip, ClipDeleter>;

Clip new_clip()
{
    return Clip(new vmt_clip{});
}

// ---- clips in files

Clip read_clip(const Context &context, const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<std::vector<char>> frames;
    int width = 0, height = 0, w, h, most;
    std::string magic;

    while (file >> magic >> w >> h >> most) {
        if (magic != "P6" || most != 255 || w < 1 || h < 1 || w > 16384 || h > 16384 ||
            (!frames.empty() && (w != width || h != height)))
            throw Failure(VMT_E_FORMAT, path + ": not a row of P6 pictures of one size");
        width = w;
        height = h;
        file.ignore(1);
        frames.emplace_back(3 * static_cast<size_t>(w) * static_cast<size_t>(h));
        if (!file.read(frames.back().data(), static_cast<std::streamsize>(frames.back().size())))
            throw Failure(VMT_E_FORMAT, path + ": ends within a picture");
    }
    if (frames.empty())
        throw Failure(VMT_E_IO, path + ": no pictures");
    Clip clip = new_clip();
    context.check(vmt_clip_new(context.get(), clip.get(), static_cast<int64_t>(frames.size()),
                               height, width, 16));
    uint8_t *to = clip->pixels;
    for (const auto &frame : frames)
        to = std::copy(frame.begin(), frame.end(), to);
    return clip;
}

void write_clip(const vmt_clip &clip, const std::string &path)
{
    std::ofstream file(path, std::ios::binary);
    const int64_t bytes = 3 * clip.width * clip.height;

    for (int64_t i = 0; i < clip.frames; i++) {
        file << "P6\n" << clip.width << ' ' << clip.height << "\n255\n";
        file.write(reinterpret_cast<const char *>(clip.pixels + i * bytes), bytes);
    }
    if (!file.flush()) {
        std::remove(path.c_str());
        throw Failure(VMT_E_IO, path + ": cannot be written");
    }
}

// ---- runs

using Progress = std::function<bool(const vmt_progress &)>; // false: stop

int tell(void *user, const vmt_progress *progress)
{
    return (*static_cast<const Progress *>(user))(*progress) ? 0
                                                             : 1; // nothing may be thrown through C
}

volatile std::sig_atomic_t stopped = 0;

void run(const std::string &dir, const std::string &reference,
         const std::vector<std::string> &pairs, const std::vector<std::string> &prompts)
{
    const Context context;
    const Model model(context, dir);
    const Clip clip = read_clip(context, reference);
    vmt_settings settings;
    Progress progress = [](const vmt_progress &p) {
        std::fprintf(stderr, "\r%-8s %2d of %2d ", vmt_phase_name(p.phase),
                     static_cast<int>(p.step), static_cast<int>(p.steps));
        return !stopped;
    };

    context.check(vmt_settings_init(context.get(), &settings, model.get(), nullptr));
    for (const std::string &pair : pairs) {
        const size_t equals = pair.find('=');
        const std::string value = equals == std::string::npos ? "" : pair.substr(equals + 1);
        context.check(vmt_settings_set(context.get(), &settings, pair.substr(0, equals).c_str(),
                                       value.c_str()));
    }
    const auto take_prompt = [&settings](vmt_transfer_io &io, const std::string &prompt) {
        const std::string ending = ".safetensors"; // prompts already encoded: fastvmt embed
        if (prompt.size() > ending.size() &&
            !prompt.compare(prompt.size() - ending.size(), ending.size(), ending))
            io.embeddings = prompt.c_str();
        else
            io.embeddings = nullptr, settings.prompt = prompt.c_str();
    };

    vmt_transfer_io io{};
    io.progress = tell;
    io.progress_user = &progress;
    io.reference = clip.get();
    take_prompt(io, prompts[0]); // the empty prompt's encoding is what extract needs of it
    const std::string motion = reference + ".fvm";
    context.check(vmt_extract(context.get(), model.get(), &settings, &io, motion.c_str()));

    io.reference = nullptr;
    io.motion = motion.c_str();
    for (size_t i = 0; i < prompts.size(); i++) {
        const Clip result = new_clip();
        take_prompt(io, prompts[i]);
        io.result = result.get();
        context.check(vmt_transfer(context.get(), model.get(), &settings, &io));
        write_clip(*result, "result" + std::to_string(i + 1) + ".ppm");
    }
    std::fputc('\n', stderr);
}

} // namespace

int main(int argc, char **argv)
{
    const std::vector<std::string> words(argv + 1, argv + argc);
    const auto dashes = std::find(words.begin(), words.end(), "--");

    if (dashes == words.end() || dashes - words.begin() < 2 || dashes + 1 == words.end()) {
        std::cerr << "usage: transfer MODEL REFERENCE.ppm [NAME=VALUE ...] -- PROMPT...\n";
        return VMT_E_ARG;
    }
    std::signal(SIGINT, [](int) { stopped = 1; });
    std::signal(SIGTERM, [](int) { stopped = 1; });
    try {
        run(words[0], words[1], {words.begin() + 2, dashes}, {dashes + 1, words.end()});
    } catch (const Failure &failure) {
        std::cerr << '\n' << vmt_status_name(failure.status) << ": " << failure.what() << '\n';
        return failure.status;
    } catch (const std::exception &e) {
        std::cerr << '\n' << e.what() << '\n';
        return VMT_E_INTERNAL;
    }
    return 0;
}
