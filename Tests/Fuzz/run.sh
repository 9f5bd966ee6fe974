#!/bin/bash
# Fuzz every decoder: run.sh [INPUTS [TARGET...]]. INPUTS is how many inputs each target is fed, 100000 if not said.
# Known fail cases (FailCases/TARGET) are fed first; a new one is written there.
set -euo pipefail
cd "$(dirname "$0")"
inputs=${1:-100000}
shift || true

# The coverage that guides the fuzzer must be in the libraries too, so the flags are given for everything. Without
# -parse-as-library a target of one file would be a script.
flags=(-Xswiftc -sanitize=fuzzer,address -Xswiftc -parse-as-library)
swift build "${flags[@]}" 2>&1 | grep -v "Cannot export local symbol"
bin=$(swift build "${flags[@]}" --show-bin-path)

# What lives as long as the program is no leak; and Swift's own crash report would hide the sanitizer's.
export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for folder in Sources/Fuzz*/; do
        name=$(basename "$folder")
        [ "$name" = FuzzDriver ] || targets+=("$name")
    done
fi
failed=0
for target in "${targets[@]}"; do
    mkdir -p "FailCases/$target" ".build/corpus/$target"
    log=".build/$target.log"
    if "$bin/$target" -runs="$inputs" -max_len=4096 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="FailCases/$target/" ".build/corpus/$target" "FailCases/$target" >"$log" 2>&1; then
        echo "$target: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs, no failure"
    else
        echo "$target: FAILED"
        tail -n 40 "$log"
        failed=1
    fi
    rmdir "FailCases/$target" 2>/dev/null || true
done
exit $failed
