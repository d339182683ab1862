#!/usr/bin/env bash
# Everything that only a GPU can show, in one go: the GPU tests, the examples, the sanitizers, the
# sweep over every input, the benchmarks and the profile of every kernel.
#
#   OUT=FOLDER MISH_LIBRARY=FILE bench/gpu_suite.sh [tests] [bench] [profile]
#
# Needs a C compiler, compute-sanitizer, ncu, pytest and PyTorch with CUDA, but no Rust. Whatever
# fails is in the summary at the end and does not keep the rest from running.
set -u
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/bindings/python" MISH_COMMIT="${MISH_COMMIT:-unknown}"
parts="${*:-tests bench profile}"
library="$(dirname "$MISH_LIBRARY")"
summary=()

# name, seconds, command...: output into $OUT/name.txt
step() {
    local name="$1" seconds="$2" code=0
    shift 2
    timeout "$seconds" "$@" >"$OUT/$name.txt" 2>&1 || code=$?
    summary+=("$([ $code = 0 ] && echo ok || echo "FAILED ($code)")  $name")
    echo "${summary[-1]}"
}

example() {
    "$1" -std="$2" -Wall -Iinclude "$3" -o "$OUT/example" -L"$library" -lmish -lm &&
        LD_LIBRARY_PATH="$library" "$OUT/example"
    local code=$?
    rm -f "$OUT/example"
    return $code
}

for part in $parts; do
    case "$part" in
    tests)
        step tests 300 python3 -m pytest -q -rs tests/python/test_cuda_arrays.py tests/python/test_torch_gpu.py
        step example-c 60 bash -c "$(declare -f example); OUT='$OUT' library='$library' example cc c99 examples/quickstart.c"
        step example-cpp 60 bash -c "$(declare -f example); OUT='$OUT' library='$library' example c++ c++11 examples/quickstart.cpp"
        step example-python 60 python3 examples/quickstart.py
        step self-check 60 python3 -m mish
        # The API errors that memcheck could also report are probes whose failure is an answer.
        step memcheck 200 compute-sanitizer --tool memcheck --leak-check full --report-api-errors no --error-exitcode 9 python3 -m pytest -q tests/python/test_cuda_arrays.py
        step racecheck 200 compute-sanitizer --tool racecheck --error-exitcode 9 python3 -m pytest -q tests/python/test_cuda_arrays.py
        step initcheck 200 compute-sanitizer --tool initcheck --report-api-errors no --error-exitcode 9 python3 -m pytest -q tests/python/test_cuda_arrays.py
        step synccheck 200 compute-sanitizer --tool synccheck --error-exitcode 9 python3 -m pytest -q tests/python/test_cuda_arrays.py
        ;;
    bench)
        step bench 300 python3 bench/bench.py gpu --out "$OUT"
        step accuracy 300 python3 bench/gpu.py --out "$OUT"
        ;;
    profile) step profile 200 python3 bench/ncu.py --out "$OUT/profile.json" ;;
    *) summary+=("no part $part") ;;
    esac
done
printf '%s\n' "" "${summary[@]}" | tee "$OUT/summary.txt"
! grep -q FAILED "$OUT/summary.txt"
