# SPDX-License-Identifier: MIT
# A thin front: each target is one command line of CMake or one script of tools/.

JOBS := $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60
# libraries that were not compiled for it would be taken for the cause of races
TSAN = ignore_noninstrumented_modules=1:allocator_may_return_null=1:exitcode=66
PREFIX ?= /usr/local

.PHONY: build install uninstall demo test memory valgrind tsan fuzz bench minimal format lint clean deps gpu-test

build: deps                 ## the program: build/release/fastvmt
	tools/build.sh release -DFASTVMT_TESTS=OFF

deps:
	tools/install_deps.sh build

install: deps               ## program, libraries, header, manual, completions below DESTDIR and PREFIX
	tools/build.sh release -DFASTVMT_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	DESTDIR=$(DESTDIR) cmake --install build/release

uninstall:                  ## what the last install of this tree wrote, with the same DESTDIR
	sed 's|^|$(DESTDIR)|' build/release/install_manifest.txt | tr '\n' '\0' | xargs -0 rm -f
	sed 's|^|$(DESTDIR)|; s|/[^/]*$$||' build/release/install_manifest.txt | grep '/fastvmt$$' | sort -ru | \
		xargs -r -d '\n' rmdir --ignore-fail-on-non-empty

demo: deps                  ## a real transfer: demo/out.mp4 and demo/compare.mp4
	tools/build.sh release -DFASTVMT_TESTS=OFF
	tools/demo.sh build/release/fastvmt

test:                       ## all tests, plain and under AddressSanitizer + UBSan
	tools/install_deps.sh build test
	tools/run_tests.sh test asan

gpu-test: deps               ## what needs an NVIDIA device, with its sanitizers
	tools/build.sh test
	tools/gpu_test.sh build/test --sanitize

minimal:                    ## the same without oneDNN, sentencepiece and libav
	tools/run_tests.sh minimal

memory:                     ## every allocation of a run fails once
	tools/install_deps.sh build test
	tools/build.sh test
	cd build/test/tests && ./test_memory own 1 && ./test_memory libc 1

valgrind:                   ## whole runs under memcheck
	tools/install_deps.sh build valgrind
	tools/build.sh release -DFASTVMT_TESTS=OFF
	@# the library's own vector code reads past its packed buffers: without it nothing has to be excused
	ONEDNN_MAX_CPU_ISA=SSE41 tools/tiny_runs.sh build/release/fastvmt 1 "ref cpu" \
	    valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite

tsan:                       ## whole runs and threaded tests under ThreadSanitizer
	tools/install_deps.sh build tsan
	tools/build.sh tsan
	TSAN_OPTIONS=$(TSAN) tools/tiny_runs.sh build/tsan/fastvmt 4 "ref cpu" env
	TSAN_OPTIONS=$(TSAN) ctest --test-dir build/tsan --output-on-failure \
	    -R 'unit.(library|ctx|media_video|guidance)|ops.(attention_threads|cpu_repeat|golden_)'

fuzz:                       ## every fuzz target for FUZZ_SECONDS
	tools/install_deps.sh build fuzz
	tools/build.sh fuzz
	tools/run_fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: deps                 ## each part beside this machine's best product
	tools/build.sh release -DFASTVMT_TESTS=OFF
	tools/run_bench.sh build/release/fastvmt

format:
	tools/install_deps.sh lint
	git ls-files '*.c' '*.h' '*.cpp' | grep -v '^third_party/' | xargs clang-format -i

lint:
	tools/install_deps.sh build lint
	tools/build.sh debug
	tools/lint.sh build/debug

clean:
	rm -rf build
