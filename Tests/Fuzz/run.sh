#!/bin/bash
# Fuzz every decoder: run.sh [INPUTS [TARGET...]]. INPUTS is how many inputs each target is fed, 100000 if not said.
# Each begins with its seeds, what earlier runs found (.build/corpus/TARGET) and known fail cases (FailCases/TARGET); a new
# one is written there. FUZZ_JOBS targets run at once, all processors' worth if not said. An input that takes longer than
# FUZZ_TIMEOUT seconds (10) is a failure. FUZZ_SANITIZERS=address adds that sanitizer, at half the speed.
set -euo pipefail
cd "$(dirname "$0")"
inputs=${1:-100000}
shift || true
jobs=${FUZZ_JOBS:-$(nproc)}
timeout=${FUZZ_TIMEOUT:-10}
sanitizers=fuzzer${FUZZ_SANITIZERS:+,$FUZZ_SANITIZERS}

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for folder in Sources/Fuzz*/; do
        name=$(basename "$folder")
        [ "$name" = FuzzDriver ] || targets+=("$name")
    done
fi

# Optimised, which makes it some ten times as fast. Traps on overflow and preconditions are there as in a debug build; asserts
# are asked for. The coverage that guides the fuzzer must be in the libraries too, so the flags are given for everything.
# -parse-as-library, because a program begins with a function: see any Main.swift.
flags=(-c release -Xswiftc "-sanitize=$sanitizers" -Xswiftc -enable-testing -Xswiftc -assert-config -Xswiftc Debug
    -Xswiftc -parse-as-library --scratch-path ".build/${sanitizers/,/-}")
swift build "${flags[@]}"
bin=$(swift build "${flags[@]}" --show-bin-path)

# What lives as long as the program is no leak; and Swift's own crash report would hide the sanitizer's.
export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no

# The longest input that is worth trying: what the decoder's limits allow, and a bit.
max_length() {
    case $1 in
        FuzzCells | FuzzRelayMessages) echo 2100 ;;
        FuzzTicket) echo 160 ;;
        FuzzCipher | FuzzCircuit | FuzzExitPolicy) echo 512 ;;
        FuzzDescriptor) echo 1100 ;;
        *) echo 1536 ;;
    esac
}

fuzz() {
    local target=$1 corpus=.build/corpus/$1 log=.build/$1.log
    mkdir -p "FailCases/$target" "$corpus"
    "$bin/$target" --seeds "$corpus"
    local failed=0
    "$bin/$target" -runs="$inputs" -max_len="$(max_length "$target")" -timeout="$timeout" \
        -report_slow_units="$timeout" -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="FailCases/$target/" "$corpus" "FailCases/$target" >"$log" 2>&1 || failed=1
    if [ $failed = 0 ]; then
        # The rate is 0 for a run of less than a second.
        echo "$target: $(awk '/number_of_executed_units/ { print $2 " inputs" }
            /average_exec_per_sec/ && $2 > 0 { print ", " $2 " a second" }' ORS= "$log"), no failure"
    else
        echo "$target: FAILED"
        tail -n 40 "$log"
    fi
    rmdir "FailCases/$target" 2>/dev/null || true
    return $failed
}

export bin inputs timeout
export -f fuzz max_length
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -euo pipefail -c 'fuzz {}'
