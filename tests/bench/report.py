# SPDX-License-Identifier: Apache-2.0
"""From samples to tables: medians, ratios, geometric means, and the goals that are held or missed.

Pure: takes samples, gives text. `samples[spec][row key]` is the list of seconds, one for each round.
"""

import math
from statistics import median

ENCRYPTED_PEERS = ("encfs", "gocryptfs", "securefs")
PASSTHROUGH = "passthrough_ll"
GEOMETRIC_GOAL = 2.0
LEGACY_GOAL = 3.0  # on EncFS volumes, against EncFS


def medians(samples):
    return {spec: {key: median(values) for key, values in rows.items() if values}
            for spec, rows in samples.items()}


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def best_peer(middle, key):
    """(seconds, name) of the fastest encrypted peer in a row, or None."""
    timed = [(middle[peer][key], peer) for peer in ENCRYPTED_PEERS if key in middle.get(peer, {})]
    return min(timed) if timed else None


def grid(header, lines):
    """A Markdown table whose columns line up in a terminal too."""
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]

    def show(line):
        cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([show(header), rule, *map(show, lines)])


def seconds(value):
    return "-" if value is None else f"{value:.3f}"


def times(value):
    return "-" if value is None else f"{value:.2f}"


def medians_table(rows, middle):
    specs = list(middle)
    lines = [[row.title, *(seconds(middle[spec].get(row.key)) for spec in specs)] for row in rows]
    return grid(["seconds, median", *specs], lines)


def spread_table(rows, samples):
    """Least and greatest sample: how far to trust the medians."""
    specs = list(samples)

    def spread(values):
        return f"{min(values):.3f}-{max(values):.3f}" if values else "-"

    lines = [[row.title, *(spread(samples[spec].get(row.key)) for spec in specs)] for row in rows]
    return grid(["seconds, least-greatest", *specs], lines)


def compare(rows, middle, subject, goal=GEOMETRIC_GOAL):
    """(table, peer geometric mean or None, missed goals) of one extencfs against the others."""
    lines, peer_ratios, missed = [], [], []
    for row in rows:
        own = middle[subject].get(row.key)
        if own is None:
            continue
        peer = best_peer(middle, row.key)
        plain = middle.get(PASSTHROUGH, {}).get(row.key)
        peer_ratio = own / peer[0] if peer else None
        plain_ratio = own / plain if plain else None
        if peer:
            peer_ratios.append(peer[0] / own)
            if peer_ratio >= 1:
                missed.append(f"{row.title}: not ahead of {peer[1]} ({peer_ratio:.2f})")
        if plain and not row.moves_bytes and plain_ratio >= 1:
            missed.append(f"{row.title}: not ahead of {PASSTHROUGH} ({plain_ratio:.2f})")
        lines.append([row.title, seconds(own), f"{peer[0]:.3f} {peer[1]}" if peer else "-", times(peer_ratio),
                      seconds(plain), times(plain_ratio)])
    mean = geometric_mean(peer_ratios)
    if mean is not None and mean < goal:
        missed.append(f"geometric mean {mean:.2f} times ahead of the best encrypted peer, "
                      f"goal {goal:.1f}")
    header = [subject, "seconds", "best encrypted peer", "ratio to it", PASSTHROUGH, "ratio to it"]
    return grid(header, lines), mean, missed


def whole(rows, samples, goal=GEOMETRIC_GOAL):
    """(text of the whole report, were all goals held)."""
    middle = medians(samples)
    text = [medians_table(rows, middle)]
    if any(len(values) > 1 for by_row in samples.values() for values in by_row.values()):
        text += ["", spread_table(rows, samples)]
    held = True
    for subject in (spec for spec in middle if spec.partition(":")[0] == "extencfs"):
        table, mean, missed = compare(rows, middle, subject, goal)
        text += ["", table]
        if mean is not None:
            text.append(f"geometric mean: {mean:.2f} times as fast as the best encrypted peer of each row")
        text += [f"missed: {line}" for line in missed] or ["all goals held"]
        held = held and not missed
    return "\n".join(text), held
