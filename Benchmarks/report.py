"""The table of a comparison, as Markdown: medians, ratios, CPU per role, memory."""

import statistics


def median(figures, peer, name, field):
    values = [one[field] for one in figures.get(peer, {}).get(name, []) if field in one]
    return statistics.median(values) if values else None


def by_role(figures, peer, name, field):
    runs = [one[field] for one in figures.get(peer, {}).get(name, []) if field in one]
    return {role: statistics.median([run[role] for run in runs if role in run]) for role in runs[0]} if runs else {}


def cell(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")


ROWS = [
    ("one stream, down, MiB/s", "down 1", "mebibytesPerSecond", 0),
    ("one stream, up, MiB/s", "up 1", "mebibytesPerSecond", 0),
    ("100 streams, down, MiB/s", "down 100", "mebibytesPerSecond", 0),
    ("100 streams, up, MiB/s", "up 100", "mebibytesPerSecond", 0),
    ("CPU-s per GiB, network, one stream down", "down 1", "networkCPUPerGiB", 2),
    ("CPU-s per GiB, network, one stream up", "up 1", "networkCPUPerGiB", 2),
    ("warm request, median, ms", "warm request", "medianMilliseconds", 2),
    ("warm request, p95, ms", "warm request", "p95Milliseconds", 2),
    ("warm request with quickack, median, ms", "warm request with quickack", "medianMilliseconds", 2),
    ("warm request with quickack, p95, ms", "warm request with quickack", "p95Milliseconds", 2),
    ("warm request beside a download, median, ms", "requests beside a download", "medianMilliseconds", 2),
    ("warm request beside a download, p95, ms", "requests beside a download", "p95Milliseconds", 2),
    ("small requests, 50 clients, /s", "50 clients", "perSecond", 0),
    ("small requests, 50 clients, quickack, /s", "50 clients with quickack", "perSecond", 0),
    ("circuits, one by one, /s", "circuits 1", "perSecond", 0),
    ("circuits, 100 at a time, /s", "circuits 100", "perSecond", 0),
    ("circuits, one by one, quickack, /s", "circuits 1 with quickack", "perSecond", 0),
    ("circuits, 100 at a time, quickack, /s", "circuits 100 with quickack", "perSecond", 0),
]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(header) - 1)) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def markdown(results):
    figures = results["figures"]
    names = [name for name in figures if name in results["versions"]]
    machine, options = results["machine"], results["options"]
    text = [
        "# Thor and its peers, side by side\n",
        f"{results['date']}; {machine['cores']} cores of {machine['processor']} ({' '.join(machine['instructions'])}), "
        f"Linux {machine['kernel']}, TCP {machine['tcp']}, load average before the start "
        f"{machine['loadAverageAtStart']:.1f}. Network, load generator and origin share the machine. Medians of "
        f"{options['runs']} runs, transfers of {options['sizeMiB']} MiB, {options['requests']} requests.\n",
        "".join(f"- {name}: {version}\n" for name, version in results["versions"].items() if version),
        "".join(f"- Left out: {name}: {reason}\n" for name, reason in results["leftOut"].items()),
        main_table(figures, names), ratios(figures, names), roles(figures, names), generator(figures)]
    failures = [f"- {name}: {failure}\n" for name in figures for failure in figures[name].get("failures", [])]
    if failures:
        text.append("## What failed\n\n" + "".join(failures))
    return "\n".join(part for part in text if part)


def main_table(figures, names):
    rows = []
    for title, name, field, digits in ROWS:
        values = [median(figures, peer, name, field) for peer in names]
        if any(value is not None for value in values):
            rows.append([title] + [cell(value, digits) for value in values])
    return table(["", *names], rows)


def ratios(figures, names):
    others = [name for name in names if name != "Thor"]
    if "Thor" not in names or not others:
        return ""
    rows = []
    for title, name, field, _ in ROWS:
        mine = median(figures, "Thor", name, field)
        theirs = [median(figures, peer, name, field) for peer in others]
        if mine is not None and any(value for value in theirs):
            rows.append([title] + [cell(mine / value if value else None, 2) for value in theirs])
    return "## Thor, as a multiple of each\n\n" + table(["", *others], rows)


def roles(figures, names):
    text = "## What each process costs\n\n"
    for title, name, field, digits in [
        ("CPU-s per GiB, down", "down 1", "roleCPUPerGiB", 2), ("CPU-s per GiB, up", "up 1", "roleCPUPerGiB", 2),
        ("CPU-µs per request, 50 clients", "50 clients", "roleCPUMicrosecondsPerRequest", 0),
        ("resident MiB, idle", "idle", "residentMiB", 1), ("resident MiB, 100 streams", "down 100", "residentMiB", 1),
        ("KiB per idle stream", "idle streams", "kibibytesPerStream", 1),
        ("KiB per idle circuit", "idle circuits", "kibibytesPerCircuit", 1),
    ]:
        found = {peer: by_role(figures, peer, name, field) for peer in names}
        columns = list(dict.fromkeys(role for values in found.values() for role in values))
        if columns:
            text += table([title, *columns], [
                [peer] + [cell(values.get(role), digits) for role in columns] for peer, values in found.items()]) + "\n"
    return text


def generator(figures):
    """The load generator straight to its origin: it must do far more than any network."""
    if "no network" not in figures:
        return ""
    return "## The load generator alone\n\n" + main_table(figures, ["no network"])
