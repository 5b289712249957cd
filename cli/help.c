/* SPDX-License-Identifier: MIT */
#include "cli.h"

const cli_command cli_commands[] = {
    {"transfer", "-m MODEL -r VIDEO -p PROMPT -o OUTPUT",
     "Makes a video that shows PROMPT and moves like VIDEO.",
     "  fastvmt transfer -m models/tiny -r demo/refs/07_swing.mkv -p \"a pumpkin on snow\" -o "
     "out.mp4\n"
     "  fastvmt transfer -m Wan2.1-T2V-1.3B -r dog.mp4 -p \"a lion runs through snow\" -o lion.mp4 "
     "\\\n"
     "      --size 832x480 --frames 81 --seed 7\n"
     "  fastvmt transfer -m models/tiny --motion swing.fvm -p \"a red car in the city\" -o "
     "car.mp4\n",
     cli_transfer, "mrwkentouavscg"},
    {"generate", "-m MODEL -p PROMPT -o OUTPUT", "Makes a video from text alone.",
     "  fastvmt generate -m models/tiny -p \"a cat on grass\" -o cat.mp4\n", cli_transfer,
     "mentouvscg"},
    {"extract", "-m MODEL -r VIDEO -o MOTION.fvm",
     "Writes what a reference contributes, for any prompt and seed.",
     "  fastvmt extract -m models/tiny -r demo/refs/07_swing.mkv -o swing.fvm --ref-seed 1\n",
     cli_extract, "mrwkeouscg"},
    {"show", "VIDEO --motion MOTION.fvm | -m MODEL, -o OUTPUT",
     "Draws a reference's motion field: arrows on the video | the same in colours.",
     "  fastvmt show demo/refs/07_swing.mkv --motion swing.fvm -o flow.mp4\n"
     "  fastvmt show demo/refs/07_swing.mkv -m models/tiny -o flow/%05d.png\n",
     cli_show, "mrwkenouvscgx"},
    {"score", "VIDEO RESULT...",
     "Scores how results move like their reference: tracks, flow, camera, steadiness, looks.",
     "  fastvmt score demo/refs/07_swing.mkv out.mp4\n"
     "  fastvmt score dog.mp4 lion.mp4 tiger.mp4 --json\n"
     "  fastvmt score dog.mp4 lion.mp4 --picture lion.score.png --video lion.score.mp4\n"
     "  fastvmt score demo/refs/07_swing.mkv out.mp4 -m models/tiny    # attention flow, too\n"
     "  fastvmt score dog.mp4 lion.mp4 --clip clip-vit-base-patch32 -p \"a lion runs through "
     "snow\"\n",
     cli_score, "mwkqsucgx"},
    {"encode", "-m MODEL -r VIDEO -o LATENT.safetensors", "Video to latent file.",
     "  fastvmt encode -m models/tiny -r clip.mp4 -o clip.latent.safetensors\n", cli_encode,
     "mrwkoscg"},
    {"decode", "-m MODEL LATENT.safetensors -o OUTPUT", "Latent file to video.",
     "  fastvmt decode -m models/tiny clip.latent.safetensors -o clip.mp4\n", cli_decode,
     "mzwoavscgx"},
    {"embed", "-m MODEL -p PROMPT -o PROMPT.safetensors",
     "Encodes prompts once, for machines without the text encoder (transfer --embeddings).",
     "  fastvmt embed -m Wan2.1-T2V-14B -p \"a lion runs through snow\" -o lion.safetensors\n",
     cli_embed, "mouscg"},
    {"info", "FILE|DIR",
     "Describes a model, a motion or latent file, a stored run, a video or a result.",
     "  fastvmt info models/tiny\n  fastvmt info out.mp4\n"
     "  fastvmt info --check Wan2.1-T2V-1.3B\n",
     cli_info, "igx"},
    {"methods", "[-m MODEL]",
     "Lists the methods of motion transfer, and what each takes of a model.",
     "  fastvmt methods\n  fastvmt methods -m models/tiny\n"
     "  fastvmt methods -m Wan2.1-T2V-1.3B --size 832x480 --frames 81 --recompute 0\n",
     cli_methods, "mscg"},
    {"probe", "CASE.safetensors -o OUT.safetensors",
     "Runs one conformance case and writes what was computed (on backend ref unless named).",
     "  fastvmt probe dit_a.safetensors -o out.safetensors --backend ref\n", cli_probe, "ocgx"},
    {"make-model", "DIR --shape tiny|1.3b|14b --tokenizer spiece.model",
     "Writes a model folder with random weights in the official formats, to try sizes and speed.",
     "  fastvmt make-model random-1.3b --shape 1.3b --tokenizer models/tiny/spiece.model\n",
     cli_make_model, "gdhx"},
    {"convert", "WEIGHTS -o OUTPUT --type TYPE",
     "Writes one part's weights, from any file that is read, in another type.",
     "  fastvmt convert Wan2.1-T2V-14B/diffusion_pytorch_model.safetensors.index.json -o "
     "wan-14b-q4_k.gguf --type q4_k\n"
     "  fastvmt convert models_t5_umt5-xxl-enc-bf16.pth -o umt5-q8_0.gguf --type q8_0\n",
     cli_convert, "ofgx"},
    {"bench",
     "[ops | transfer -m MODEL | methods -m MODEL | reuse VIDEO -m MODEL -o DIR | table "
     "MANIFEST.jsonl -m MODEL -o DIR]",
     "Measures the parts of a run on random weights, beside this machine's best matrix product.",
     "  fastvmt bench                                # the 1.3B shape, 416x240, 17 frames\n"
     "  fastvmt bench --parts dit,block --full --dtype f32 --json\n"
     "  fastvmt bench ops --op attention,attention_local\n"
     "  fastvmt bench transfer -m models/tiny --runs 5\n"
     "  fastvmt bench methods -m models/tiny         # every method's parts and schedule\n"
     "  fastvmt bench reuse ref.mp4 -m models/tiny -p \"a fox on snow\" -o reuse\n"
     "  fastvmt bench table cases.jsonl -m models/tiny -o table --jobs 8\n",
     cli_bench, "mebhuscgx"},
    {"completion", "bash|zsh|fish", "Prints the completion script of a shell.",
     "  source <(fastvmt completion bash)\n"
     "  fastvmt completion fish > ~/.config/fish/completions/fastvmt.fish\n",
     cli_completion, "gx"},
    {"manual", "", "Prints the manual page.", "  fastvmt manual | man -l -\n", cli_manual, "g"},
    {"devices", "", "Lists what this machine can compute on.", "  fastvmt devices\n", cli_devices,
     "g"},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};

const char cli_exit_codes[] =
    "  0 done   1 internal fault   2 bad option   3 out of memory   4 file cannot be read or "
    "written\n"
    "  5 bad file   6 files make no model   7 made with other settings   8 not a number\n"
    "  9 not supported by this build   130 stopped\n";

void cli_print_help(const cli_command *command, FILE *to)
{
    if (command) {
        fprintf(to, "usage: fastvmt %s%s%s\n\n%s\n", command->name, command->usage[0] ? " " : "",
                command->usage, command->about);
        cli_print_options(command, to);
        fprintf(to, "\nExamples\n%s\nExit codes\n%s", command->examples, cli_exit_codes);
        return;
    }
    fprintf(to,
            "fastvmt %s: video motion transfer on Wan2.1\n\nusage: fastvmt COMMAND [options]\n\n",
            vmt_version());
    for (const cli_command *c = cli_commands; c->name; c++)
        fprintf(to, "  %-11s %s\n", c->name, c->about);
    fprintf(to, "\nfastvmt COMMAND --help lists a command's options.\n\nExit codes\n%s",
            cli_exit_codes);
}
