#!/usr/bin/env bash
# Everything that only a GPU can show, in one go: the GPU tests, the examples, the sanitizers, the
# sweep over every input, the benchmarks and the profile of every kernel.
#
#   OUT=FOLDER MISH_LIBRARY=FILE bench/gpu_suite.sh [tests] [sanitizers] [accuracy] [bench] [overhead] [profile]
#
# Needs a C compiler, CMake, compute-sanitizer, ncu, pytest and PyTorch with CUDA, but no Rust: what
# cargo has built beside the library (mish-sweep, examples/quickstart) is run from there. Whatever
# fails is in the summary at the end and does not keep the rest from running.
set -u
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/bindings/python" MISH_COMMIT="${MISH_COMMIT:-unknown}"
parts="${*:-tests sanitizers accuracy bench overhead profile}"
library="$(dirname "$MISH_LIBRARY")"
summary=()

# name, seconds, command...: output into $OUT/name.txt
step() {
    local name="$1" seconds="$2" code=0 since=$SECONDS
    shift 2
    if [ "$(type -t "$1")" = function ]; then
        "$@" >"$OUT/$name.txt" 2>&1 || code=$?
    else
        timeout "$seconds" "$@" >"$OUT/$name.txt" 2>&1 || code=$?
    fi
    summary+=("$([ $code = 0 ] && echo ok || echo "FAILED ($code)")  $name, $((SECONDS - since)) s")
    echo "${summary[-1]}"
}

example() {
    "$1" -std="$2" -Wall -Iinclude "$3" -o "$OUT/example" -L"$library" -lmish -lm &&
        LD_LIBRARY_PATH="$library" "$OUT/example"
    local code=$?
    rm -f "$OUT/example"
    return $code
}

libtorch() {
    local build torch
    build="$(mktemp -d)"
    torch="$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path, end="")')"
    # LibTorch brings the C++ library as a shared one: a compiler that links a copy of its own into the
    # program, as what CXX names may do, makes it abort at its end.
    unset CC CXX
    cmake -S bindings/cpp -B "$build/package" -DMISH_LIBRARY="$MISH_LIBRARY" &&
        cmake --install "$build/package" --prefix "$build/prefix" &&
        cmake -S examples/libtorch -B "$build/example" -DCMAKE_BUILD_TYPE=Release \
            -DCMAKE_PREFIX_PATH="$build/prefix;$torch" &&
        cmake --build "$build/example" || return
    "$build/example/libtorch"
}

# The tests that need nothing but the driver.
driver_tests=(tests/python/test_cuda_arrays.py tests/python/test_cuda_driver.py)

sanitizer() {
    step "$1" 150 compute-sanitizer --tool "$@" --error-exitcode 9 python3 -m pytest -q "${driver_tests[@]}"
}

for part in $parts; do
    case "$part" in
    tests)
        step tests 300 python3 -m pytest -q -rs "${driver_tests[@]}" tests/python/test_torch_gpu.py tests/python/test_mish_cuda.py
        step example-c 60 example cc c99 examples/quickstart.c
        step example-cpp 60 example c++ c++11 examples/quickstart.cpp
        step example-python 60 python3 examples/quickstart.py
        step example-rust 60 "$library/examples/quickstart"
        step example-libtorch 120 libtorch
        step self-check 60 python3 -m mish
        ;;
    sanitizers)
        # The API errors that the tools could also report are probes whose failure is an answer.
        sanitizer memcheck --leak-check full --report-api-errors no
        sanitizer racecheck
        sanitizer initcheck --report-api-errors no
        sanitizer synccheck
        ;;
    accuracy)
        step sweep 120 "$library/mish-sweep" --library "$MISH_LIBRARY" --state "$(mktemp -d)" --device cuda --reduced --json "$OUT/sweep-cuda.json"
        step accuracy 200 python3 bench/gpu.py --out "$OUT"
        ;;
    bench) step bench 300 python3 bench/bench.py gpu --out "$OUT" ;;
    overhead)
        cc -std=gnu99 -O2 -Iinclude bench/overhead.c -o "$OUT/overhead" -L"$library" -lmish -ldl
        LD_LIBRARY_PATH="$library" step overhead-c 60 "$OUT/overhead" "$OUT/overhead-c.json" "$MISH_COMMIT" "not here"
        rm -f "$OUT/overhead"
        step overhead-torch 90 python3 bench/torch_overhead.py --device cuda --out "$OUT/overhead-torch.json"
        ;;
    profile) step profile 200 python3 bench/ncu.py --out "$OUT/profile.json" ;;
    *) summary+=("no part $part") ;;
    esac
done
printf '%s\n' "" "${summary[@]}" | tee "$OUT/summary.txt"
! grep -q FAILED "$OUT/summary.txt"
