#!/bin/bash
# All unit and integration tests under the thread sanitizer and the address sanitizer, and the layer cipher in C under the
# address and undefined-behaviour sanitizers; says at the end what was run. Part of it: run.sh thread|address|undefined ...
set -euo pipefail
cd "$(dirname "$0")/../.."
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(thread address undefined)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
summary=()
failed=0
# Swift's own crash report would hide the sanitizer's.
export SWIFT_BACKTRACE=enable=no

# The tests of one sanitizer, in a build of its own. Its reports come from the tests' own process and from programs that
# they start, so they are counted in what all of them print.
tests() {
    local sanitizer=$1 reports result
    swift build --build-tests "--sanitize=$sanitizer" --scratch-path ".build-$sanitizer"
    result=0
    # All tests at once, each some ten times as slow, would run into their time limits.
    swift test --skip-build "--sanitize=$sanitizer" --scratch-path ".build-$sanitizer" \
        --experimental-maximum-parallelization-width 4 2>&1 | tee "$log" || result=$?
    reports=$(grep -cE '(WARNING|ERROR): (Thread|Address)Sanitizer' "$log" || true)
    local run
    run=$(grep -oE 'Test run with [0-9]+ tests in [0-9]+ suites [a-z]+' "$log" || echo 'no test run')
    summary+=("$sanitizer: $run, $reports reports")
    [ "$result" = 0 ] && [ "$reports" = 0 ] || failed=1
}

for part in "${parts[@]}"; do
    case $part in
        thread) TSAN_OPTIONS="suppressions=$PWD/Tests/Sanitizers/thread.supp ${TSAN_OPTIONS:-}" tests thread ;;
        # What lives as long as the program is no leak.
        address) ASAN_OPTIONS="detect_leaks=0 ${ASAN_OPTIONS:-}" tests address ;;
        undefined)
            result=0
            Tests/Fuzz/run.sh 20000 FuzzCipherC 2>&1 | tee "$log" || result=$?
            summary+=("undefined: $(grep -E '^FuzzCipherC' "$log" || echo 'FuzzCipherC did not run')")
            [ "$result" = 0 ] || failed=1
            ;;
        *)
            echo "run.sh: '$part' is none of thread, address, undefined" >&2
            exit 64
            ;;
    esac
done

echo
echo "make check:"
printf '  %s\n' "${summary[@]}"
[ $failed = 0 ] || echo "  FAILED"
exit $failed
