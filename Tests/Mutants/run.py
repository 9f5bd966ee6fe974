#!/usr/bin/env python3
"""Takes the checks of the product away, one at a time, and says which of them no test misses.

A copy of the package in .build-mutants gets all mutants at once, each behind a switch that THOR_MUTANT turns when a test
process starts; so there is one build. What is mutated, in the modules below:

    guard A, B else {      each plain clause taken as true            if A {     the condition taken as false
    A && B, A || B         each operand left out, anywhere            a < b      off by one, anywhere
    min(a, b), max(a, b)   each argument alone                        try f(x)   a statement of its own left out

With THOR_MUTANT_RECORD the switches write down what a test feels: that of a clause only where the clause does not hold, that
of a limit only at the limit. Each test is run so once; then each mutant against the tests that feel it, the fast ones first,
until one fails, crashes or hangs. A mutant that no test feels, or that none fails for, survives. After a change all are judged
again, each by the tests that failed for it the last time first.

What may survive is in equivalent.txt, a line each: "file | kind | text | reason". The exit code is 1 if something else did.
A run that was stopped, or whose --budget of seconds is spent (exit code 75), goes on where it was.
"""
import argparse, collections, concurrent.futures, hashlib, itertools, json, os, pathlib, re, signal, subprocess, sys, tempfile
import threading, time

MODULES = """OnionAddress OnionCells OnionCrypto OnionDirectory OnionCircuits OnionLink OnionStreams DirectoryClient
    DirectoryServer OnionRouter OnionClient ProxyFrontend ThorDaemon""".split()
KINDS = ["guard", "if", "operand", "limit", "min", "max", "call"]
COPIED = ["Makefile", "Package.swift", "Package.resolved", "Sources", "Tests", "Docs", "examples", "systemd"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ["swift", "build", "--build-tests", "--explicit-target-dependency-import-check", "error"]
SWITCHES = """import Glibc

private let chosen = getenv("THOR_MUTANT").flatMap { Int(String(cString: $0)) } ?? 0
nonisolated(unsafe) private let seen = calloc(100_000, 1)!.bindMemory(to: Bool.self, capacity: 100_000)

@usableFromInline func mutant(_ number: Int) -> Bool {
    if let path = getenv("THOR_MUTANT_RECORD"), !seen[number] {
        seen[number] = true
        let file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o600)
        let line = "\\(number)\\n"
        _ = write(file, line, line.utf8.count)
        close(file)
    }
    return number == chosen
}
@usableFromInline func mutantLT<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> Bool { a < b || a == b && mutant(n) }
@usableFromInline func mutantGT<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> Bool { a > b || a == b && mutant(n) }
@usableFromInline func mutantLE<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> Bool { a < b || a == b && !mutant(n) }
@usableFromInline func mutantGE<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> Bool { a > b || a == b && !mutant(n) }
@usableFromInline func mutantmin<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> T {
    b < a ? (mutant(n) ? a : b) : a < b ? (mutant(n + 1) ? b : a) : a
}
@usableFromInline func mutantmax<T: Comparable>(_ n: Int, _ a: T, _ b: T) -> T {
    b < a ? (mutant(n + 1) ? b : a) : a < b ? (mutant(n) ? a : b) : a
}
"""
LIMITS = {"<": "LT", ">": "GT", "<=": "LE", ">=": "GE"}


def masked(text):
    """The text with every character of a comment blank and of a string `_`, so that what is left is code."""
    out = list(text)

    def string(i):
        """Where the string that begins at i ends; one may be inside another."""
        hashes = re.match("#*", text[i:]).group()
        quote = '"""' if text.startswith('"""', i + len(hashes)) else '"'
        end, escape, i = quote + hashes, "\\" + hashes, i + len(hashes) + len(quote)
        while not text.startswith(end, i):
            if text.startswith(escape + "(", i):
                i, depth = i + len(escape) + 1, 1
                while depth:
                    i = string(i) if text[i] == '"' else i
                    depth += (text[i] == "(") - (text[i] == ")")
                    i += 1
            else:
                i += len(escape) + 1 if text.startswith(escape, i) else 1
        return i + len(end)

    i = 0
    while m := re.compile('//|#*"').search(text, i):
        isComment = m[0] == "//"
        end = text.index("\n", m.start()) if isComment else string(m.start())
        out[m.start():end] = [c if c == "\n" else " " if isComment else "_" for c in text[m.start():end]]
        i = end
    return "".join(out)


def scan(code, i, step, stop):
    """Where an expression around i ends: at a bracket that it did not open, a line that does not go on, or where `stop` says."""
    depth = 0
    while 0 <= i < len(code):
        if depth == 0 and stop(i):
            return i
        inward = (code[i] in "([{") - (code[i] in ")]}")
        depth += inward * step
        if depth < 0:
            return i
        if code[i] == "\n" and depth == 0:
            goesOn = code[:i].rstrip()[-1:] in "(,&|=+-*/<>?:" or re.match(r"\s*([&|.?+\-*/<>=]|: )", code[i:i + 200])
            if not goesOn:
                return i
        i += step
    return i


def word(code, i, words):
    return re.compile(rf"(?<![.\w`#])(?:{words})\b(?!:)").match(code, i)


def stripped(code, a, b):
    return a + len(code[a:b]) - len(code[a:b].lstrip()), a + len(code[a:b].rstrip())


def operand(code, at, end):
    """The span of the operands left and right of what is in at..<end."""
    sign = re.compile(r"&&|\|\||,|;| \? |:(?=\s)| [-+*/&|]?=(?=\s)| -> ")
    before = lambda i: sign.match(code, i) or word(code, i, "return|guard|if|while|where|in|else|case|throw")
    left = scan(code, at - 1, -1, before)
    found = before(left) if left >= 0 else None
    after = lambda i: sign.match(code, i) or code.startswith(" {", i) or word(code, i, "else")
    return stripped(code, found.end() if found else left + 1, scan(code, end, 1, after))


def clauses(code, start, body):
    """The comma-separated clauses from start on, up to what `body` finds."""
    spans, begin, i = [], start, start
    while True:
        i = scan(code, i, 1, lambda k: code[k] == "," or body(k))
        if code[i] == "\n":
            i += 1
            continue
        spans.append(stripped(code, begin, i))
        if code[i] != ",":
            return spans, i
        begin = i = i + 1


def has(code, span, sign):
    """Whether the sign is in the span, outside of brackets."""
    return scan(code, span[0], 1, lambda i: i >= span[1] or code.startswith(sign, i)) < span[1]


def mutants(text):
    """The mutants of a file: kind, span, and what is put before it, behind it, and in place of a part of it."""
    code, found = masked(text), {}

    def add(kind, span, before, behind, place=None, by=""):
        line = code[code.rfind("\n", 0, span[0]) + 1:span[1]]
        if span[0] < span[1] and not re.search(r"\b(precondition|assert)\w*\(|@inlinable|\bsort(ed)?\b|func <", line):
            found.setdefault((kind, *span), (kind, *span, before, behind, place, by))

    for m in re.finditer(r"(?<![.\w`#])(guard|if)\b(?!:)", code):
        isGuard = m[1] == "guard"
        spans, _ = clauses(code, m.end(), lambda k: word(code, k, "else") if isGuard else code[k] == "{")
        plain = [s for s in spans if not re.match(r"(let|var|case)\b|#", code[s[0]:])]
        for span in plain if isGuard else plain[-1:]:
            if isGuard and (has(code, span, "||") or not has(code, span, "&&")):
                add("guard", span, "(", ") || mutant(%d)")
            elif not isGuard and not has(code, span, "||"):
                add("if", span, "(", ") && !mutant(%d)")
    for m in re.finditer(r"&&|\|\|", code):
        for at in m.span():
            add("operand", operand(code, at, at), "((", ") || mutant(%d))" if m[0] == "&&" else ") && !mutant(%d))")
    for m in re.finditer(r" (<=?|>=?) ", code):
        add("limit", operand(code, *m.span()), "mutant" + LIMITS[m[1]] + "(%d, ", ")", m.span(), ", ")
    for m in re.finditer(r"(?<![.\w])(min|max)\(", code):
        spans, end = clauses(code, m.end(), lambda k: False)
        if len(spans) == 2 and not any(re.match(r"\w+:", code[a:b]) for a, b in spans):
            add(m[1], (m.start(), end + 1), "", "", m.span(), f"mutant{m[1]}(%d, ")
    for m in re.finditer(r"(?m)(?<=[{};)\w])\s*?\n +(try .*)$", code):
        span = m.span(1)
        if not re.search(r" [-+*/]?= |[{(\[,]$|self\.init", m[1]) and scan(code, span[0], 1, lambda i: False) == span[1]:
            add("call", span, "if !mutant(%d) { ", " }")
    return sorted(found.values(), key=lambda f: (f[1], KINDS.index(f[0])))


def rewritten(text, found, numbers):
    """The text with each mutant behind its switch; brackets of an outer span are outside those of an inner one."""
    pieces = []  # where, order there, characters replaced, by what
    for (kind, a, b, before, behind, place, by), n in zip(found, numbers):
        rank, number = KINDS.index(kind), str(n)
        pieces.append((b, (0, -a, -rank), 0, behind.replace("%d", number)))
        pieces.append((a, (1, -b, rank), 0, before.replace("%d", number)))
        if place:
            pieces.append((place[0], (2, 0, 0), place[1] - place[0], by.replace("%d", number)))
    out, at = [], 0
    for where, _, length, put in sorted(pieces):
        out += [text[at:where], put]
        at = where + length
    return "".join(out) + text[at:]


def prepare(scratch, leftOut):
    """Makes the copy, touching what changes alone. Number, file, line and name of each mutant."""
    all, files = [], {}
    for top in COPIED:
        for path in [ROOT / top] if (ROOT / top).is_file() else sorted(p for p in (ROOT / top).rglob("*") if p.is_file()):
            name = path.relative_to(ROOT)
            if ".build" in name.parts or "__pycache__" in name.parts:
                continue
            files[name] = path.read_bytes()
            if name.suffix != ".swift" or name.parts[0] != "Sources" or name.parts[1] not in MODULES:
                continue
            text, seen, kept = files[name].decode(), collections.Counter(), []
            for f in mutants(text):
                short = " ".join(text[f[1]:f[2]].split())
                seen[f[0], short] += 1
                key = f"{name} | {f[0]} | {short}" + (f" #{seen[f[0], short]}" if seen[f[0], short] > 1 else "")
                if key not in leftOut:
                    line, first = text.count("\n", 0, f[1]) + 1, len(all) + 1
                    kept.append((f, first))
                    for part in [" (first alone)", " (second alone)"] if f[0] in ("min", "max") else [""]:
                        all.append({"number": len(all) + 1, "file": str(name), "line": line, "key": key, "name": key + part})
            files[name] = rewritten(text, [f for f, _ in kept], [n for _, n in kept]).encode()
    files |= {pathlib.Path("Sources", module, "Mutants.swift"): SWITCHES.encode() for module in MODULES}
    for name, text in files.items():
        path = scratch / name
        if not path.exists() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    for folder in ("Sources", "Tests"):
        for path in (scratch / folder).rglob("*"):
            if path.is_file() and path.relative_to(scratch) not in files:
                path.unlink()
    return all


def build(scratch):
    """Builds the copy. A mutant that the compiler does not take is left out, and the build tried again."""
    memory = scratch / "left-out.json"
    leftOut = set(json.loads(memory.read_text())) if memory.exists() else set()
    while True:
        all = prepare(scratch, leftOut)
        result = subprocess.run(BUILD, cwd=scratch, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode == 0:
            return all
        names = set()
        for file, line in re.findall(r"(?m)/(Sources/[^:\n]+\.swift):(\d+):\d+: error:", result.stdout):
            # Of a value that is not set or returned the end of the function is told: the mutant before it is meant.
            at = max((m["line"] for m in all if m["file"] == file and m["line"] <= int(line)), default=0)
            names |= {m["key"] for m in all if (m["file"], m["line"]) == (file, at)}
        if not names:
            sys.exit(result.stdout[-4000:] + "\nthe copy does not build")
        leftOut |= names
        memory.write_text(json.dumps(sorted(leftOut)))


def run(scratch, command, names, limit, **environment):
    """Runs tests until one fails: how that showed, or nothing."""
    pattern = "|".join("^" + re.escape(name) + "(/|$)" for name in names)
    with tempfile.TemporaryDirectory(prefix="thor-mutant-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            command + ["--filter", pattern], cwd=scratch, text=True, errors="replace", start_new_session=True,
            env=os.environ | {"TMPDIR": folder, "SWIFT_BACKTRACE": "enable=no"} | environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        try:
            for line in process.stdout:
                if re.match(r"\S+ Test .* recorded an issue", line):
                    return line.strip()[:200]
            return f"exit {process.returncode}" if process.wait() else None
        finally:
            timer.cancel()
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="test processes at once")
    parser.add_argument("--scratch", type=pathlib.Path, default=ROOT / ".build-mutants")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which to stop")
    parser.add_argument("--patience", type=float, default=60, help="seconds of tests for one mutant: it wants a quick one")
    parser.add_argument("--only", default="", help="only mutants whose file, kind or text has this")
    options = parser.parse_args()
    end, scratch, lock = time.monotonic() + options.budget, options.scratch, threading.Lock()
    scratch.mkdir(exist_ok=True)
    all = build(scratch)
    program = next((scratch / ".build/debug").glob("*PackageTests.xctest"))
    command = [str(program), "--testing-library", "swift-testing"]
    log, digest = scratch / "mutants.json", hashlib.sha256(program.read_bytes()).hexdigest()
    known = json.loads(log.read_text()) if log.exists() else {}
    if known.get("digest") != digest:
        known = {"digest": digest, "felt": {}, "seconds": {}, "result": {}, "killers": known.get("killers", {})}

    def inParallel(work, items):
        def unlessLate(item):
            if time.monotonic() < end:
                work(item)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(unlessLate, items))
        if time.monotonic() >= end:
            print(f"{len(known['result'])} of {len(all)} mutants are judged")
            sys.exit(75)

    def save():
        log.with_suffix(".new").write_text(json.dumps(known, indent=0))
        log.with_suffix(".new").rename(log)

    def record(name):
        with tempfile.TemporaryDirectory(prefix="thor-mutant-", ignore_cleanup_errors=True) as folder:
            path, start = pathlib.Path(folder, "felt"), time.monotonic()
            failure = run(scratch, command, [name], 300, THOR_MUTANT_RECORD=str(path))
            felt = path.read_text().split() if path.exists() and not failure else []
        with lock:
            known["seconds"][name] = time.monotonic() - start
            known["felt"][name] = sorted({int(n) for n in felt})
            save()
            if failure:
                print(f"without a mutant: {name}: {failure}", flush=True)

    listed = subprocess.run(command + ["--list-tests"], cwd=scratch, capture_output=True, text=True).stdout.split("\n")
    inParallel(record, [n for n in listed if re.match(r"\w+Tests\.", n) and n not in known["felt"]])
    feelers = collections.defaultdict(list)
    for name in sorted(known["felt"], key=lambda n: known["seconds"][n]):
        for number in known["felt"][name]:
            feelers[number].append(name)

    def judge(mutant):
        result, batch, seconds, budget = "no test feels it", [], 0, 1
        names = feelers[mutant["number"]]
        before = known["killers"].get(mutant["name"], [])
        names.sort(key=lambda name: name not in before)
        # The first counts in any case.
        spent = itertools.accumulate(known["seconds"][name] for name in names)
        names = names[:max(1, sum(1 for all in spent if all <= options.patience))]
        for i, name in enumerate(names):
            batch.append(name)
            seconds += known["seconds"][name]
            if i + 1 == len(names) or seconds > budget:
                killer = run(scratch, command, batch, 20 + 5 * seconds, THOR_MUTANT=str(mutant["number"]))
                result = f"killed: {killer}" if killer else "survives"
                if killer:
                    break
                batch, seconds, budget = [], 0, budget * 4
        with lock:
            known["result"][mutant["name"]] = result
            if result.startswith("killed"):
                known["killers"][mutant["name"]] = batch
            save()

    chosen = [m for m in all if options.only in m["name"]]
    inParallel(judge, [m for m in chosen if m["name"] not in known["result"]])
    lines = pathlib.Path(__file__).with_name("equivalent.txt").read_text().splitlines()
    excused = {line.rsplit(" | ", 1)[0] for line in lines if " | " in line}
    survivors = [m for m in chosen if not known["result"][m["name"]].startswith("killed")]
    new = [m for m in survivors if m["name"] not in excused]
    for m in new:
        print(f"{m['file']}:{m['line']}: {m['name'].split(' | ', 1)[1]}: {known['result'][m['name']]}")
    gone = set() if options.only else excused - {m["name"] for m in survivors}
    for name in sorted(gone):
        print(f"equivalent.txt: no such survivor: {name}")
    print(f"{len(chosen)} mutants: {len(chosen) - len(survivors)} killed, {len(survivors) - len(new)} equivalent, {len(new)} survive")
    sys.exit(1 if new or gone else 0)


if __name__ == "__main__":
    main()
