#!/bin/bash
# Fuzz every decoder and state machine: run.sh [INPUTS [TARGET...]]. INPUTS is how many inputs each target is fed, 100000 if
# not said. Each begins with its seeds, the corpus that is kept (Corpus/TARGET), what earlier runs found
# (.build/corpus/TARGET) and known fail cases (FailCases/TARGET); a new one is written there. FUZZ_JOBS targets run at once,
# all processors' worth if not said. An input that takes longer than FUZZ_TIMEOUT seconds (10) is a failure; FUZZ_SECONDS
# ends each target after so long. FUZZ_SANITIZERS is address if not said; empty for none, at twice the speed.
#
# FuzzCipherC is the layer cipher from C, under the address and undefined-behaviour sanitizers; it shares corpus and fail cases
# with FuzzCipher.
#
# run.sh --corpus [TARGET...] renews what Corpus keeps of each target, but for real traffic (real-*, see record.py): of the
# smallest inputs that together reach all that .build/corpus reaches, CORPUS_COUNT (24), from the shortest to the longest.
set -euo pipefail
cd "$(dirname "$0")"
keeps_corpus=
if [ "${1:-}" = --corpus ]; then
    keeps_corpus=1
    inputs=0
else
    inputs=${1:-100000}
fi
shift || true
jobs=${FUZZ_JOBS:-$(nproc)}
timeout=${FUZZ_TIMEOUT:-10}
seconds=${FUZZ_SECONDS:-0}
corpus_count=${CORPUS_COUNT:-24}
extra=${FUZZ_SANITIZERS-address}
sanitizers=fuzzer${extra:+,$extra}
c_target=FuzzCipherC

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for folder in Sources/Fuzz*/; do
        name=$(basename "$folder")
        [ "$name" = FuzzDriver ] || targets+=("$name")
    done
    targets+=("$c_target")
fi

# Optimised, which makes it some ten times as fast. Traps on overflow and preconditions are there as in a debug build; asserts
# are asked for. Built where the package above is built, and with the same flags: what is not ours is there already, or will be
# of use there. Our own modules are built for the fuzzer, see the end of Package.swift, and again at the next ordinary build.
export THOR_FUZZ_SANITIZERS=$sanitizers
build=(swift build -c release --static-swift-stdlib --scratch-path ../../.build)
bin=.build/c
if [ "${targets[*]}" != "$c_target" ]; then
    # The same versions, so that nothing is fetched anew. It does not stay: in the package above it would be a test's.
    cp ../../Package.resolved . 2>/dev/null || true
    "${build[@]}"
    bin=$("${build[@]}" --show-bin-path)
    rm -f Package.resolved
fi

# Swift's own clang, whose run-time libraries are there; as gnu11, as SwiftPM builds the cipher.
mkdir -p .build/c
clang=$(dirname "$(realpath "$(command -v swift)")")/clang
"$clang" -std=gnu11 -O1 -g -Wall -Wextra -Werror -fuse-ld=lld -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    CipherC/fuzz_cipher.c ../../Sources/COnionCipher/*.c -o ".build/c/$c_target"

# What lives as long as the program is no leak; and Swift's own crash report would hide the sanitizer's.
export ASAN_OPTIONS=detect_leaks=0:malloc_context_size=0:quarantine_size_mb=16 SWIFT_BACKTRACE=enable=no

# The longest input that is worth trying: what the decoder's limits allow, and a bit.
max_length() {
    case $1 in
        FuzzCells | FuzzRelayMessages) echo 2100 ;;
        FuzzTicket) echo 160 ;;
        FuzzConsensus | FuzzDirectoryFrames) echo 3000 ;;
        FuzzCipher* | FuzzCircuit | FuzzExitPolicy | FuzzText) echo 512 ;;
        FuzzCircuitRules | FuzzCongestion | FuzzScheduling | FuzzStreams | FuzzDirectoryServer) echo 256 ;;
        # Each event is some cells of two kilobytes.
        FuzzLink | FuzzRouter) echo 160 ;;
        FuzzFiles | FuzzHTTP) echo 800 ;;
        FuzzDescriptor) echo 1100 ;;
        *) echo 1536 ;;
    esac
}

fuzz() {
    local target=$1 corpus=.build/corpus/$1 log=.build/$1.log program=$bin/$1 kept=${1/FuzzCipherC/FuzzCipher}
    [ "$target" != "$kept" ] && program=.build/c/$target
    mkdir -p "FailCases/$kept" "Corpus/$kept" "$corpus"
    [ "$target" != "$kept" ] || "$program" --seeds "$corpus"
    if [ -n "$keeps_corpus" ]; then
        keep_corpus "$target" "$program" "$corpus"
        return
    fi
    local failed=0
    "$program" -runs="$inputs" -max_total_time="$seconds" -max_len="$(max_length "$target")" -timeout="$timeout" \
        -report_slow_units="$timeout" -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="FailCases/$kept/" "$corpus" "Corpus/$kept" "FailCases/$kept" >"$log" 2>&1 || failed=1
    if [ $failed = 0 ]; then
        # The rate is 0 for a run of less than a second.
        echo "$target: $(awk '/number_of_executed_units/ { print $2 " inputs" }
            /average_exec_per_sec/ && $2 > 0 { print ", " $2 " a second" }' ORS= "$log"), no failure"
    else
        echo "$target: FAILED"
        tail -n 40 "$log"
    fi
    rmdir "FailCases/$kept" 2>/dev/null || true
    return $failed
}

# The fuzzer's own merge takes the smallest inputs first, and each only if it reaches something new.
keep_corpus() {
    local target=$1 program=$2 corpus=$3 merged
    [ "$target" != FuzzCipherC ] || return 0
    merged=$(mktemp -d)
    "$program" -merge=1 -timeout="$timeout" "$merged" "Corpus/$target" "$corpus" >".build/$target.merge.log" 2>&1
    find "Corpus/$target" -type f ! -name 'real-*' -delete
    (cd "$merged" && stat -c '%s %n' -- * | sort -n -k1,1 -k2,2) |
        awk -v count="$corpus_count" '{ names[NR] = $2 }
            END {
                step = NR > count ? NR / count : 1
                for (place = NR; place >= 1; place -= step) print names[int(place)]
            }' |
        while read -r name; do cp "$merged/$name" "Corpus/$target/"; done
    rm -rf "$merged"
    echo "$target: $(find "Corpus/$target" -type f | wc -l) inputs kept"
}

export bin inputs timeout seconds corpus_count keeps_corpus
export -f fuzz max_length keep_corpus
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -euo pipefail -c 'fuzz {}'
