#!/usr/bin/env python3
"""What benches/card.sh writes: a line for each part that ran, and a table of all lines so far. The standard library only."""
import json
import pathlib
import re
import sys

# What is taken over from what a part said.
SAID = re.compile(r"off by|test result|ERROR SUMMARY|found no plan|another way|left out|panicked|RACECHECK SUMMARY|^on ")
RESULTS = {"0": "passed", "124": "stopped at its limit", "137": "stopped at its limit", "skipped": "left out"}
MOST_KERNELS = 25


def last_json(text):
    """The last line that is a JSON object; what the timer prints."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return None


def record(out, name, result, seconds, limit, log):
    text = pathlib.Path(log).read_text(errors="replace")
    line = {
        "part": name,
        "result": RESULTS.get(result, f"failed with {result}"),
        "seconds": int(seconds),
        "limit": int(limit),
        "measured": last_json(text),
        "said": [said.strip() for said in text.splitlines() if SAID.search(said)][:40],
    }
    lines = pathlib.Path(out, "card.jsonl")
    with lines.open("a") as file:
        file.write(json.dumps(line) + "\n")
    pathlib.Path(out, "card.md").write_text(table([json.loads(text) for text in lines.read_text().splitlines()]))


def measured(line):
    """The few numbers of a part that stand in the table."""
    of = line["measured"] or {}
    found = []
    if of.get("step_s") is not None and not of.get("slides"):
        found.append(f"{1e3 * of['step_s']:.1f} ms a {'batch' if of.get('forward_only') else 'step'}")
    if of.get("slides"):
        found.append(f"{of['slides']} slides x {of['epochs']:g} epochs in {of['total_s']:.1f} s")
    if of.get("peak_mib") is not None:
        found.append(f"{of['peak_mib']} MiB")
    fallbacks = ((of.get("profile") or {}).get("fallbacks")) or {}
    if of:
        found.append(f"{sum(fallbacks.values())} products without a plan")
    return "; ".join(found + line["said"][:3])


def table(lines):
    rows = ["| part | result | seconds | limit | measured |", "|---|---|---|---|---|"]
    for line in lines:
        cell = measured(line).replace("|", "/")
        rows.append(f"| {line['part']} | {line['result']} | {line['seconds']} | {line['limit']} | {cell} |")
    for line in lines:
        profile = ((line["measured"] or {}).get("profile") or {})
        kernels = profile.get("lines") or []
        if not kernels:
            continue
        whole = sum(kernel["milliseconds"] for kernel in kernels)
        rows += ["", f"{line['part']}, by kernel and product:", "", "| what | ms | share | calls | us each |", "|---|---|---|---|---|"]
        for kernel in kernels[:MOST_KERNELS]:
            ms, calls = kernel["milliseconds"], kernel["calls"]
            rows.append(f"| {kernel['name']} | {ms:.2f} | {ms / whole:.1%} | {calls} | {1e3 * ms / calls:.1f} |")
        for product, times in profile.get("fallbacks", {}).items():
            rows.append(f"| another way: {product} | | | {times} | |")
    return "\n".join(rows) + "\n"


def same(one, other):
    """Whether two runs have the same losses and gradient norms, to the bit."""
    runs = [last_json(pathlib.Path(path).read_text()) or {} for path in (one, other)]
    for key in ("losses", "grad_norms"):
        values = [run.get(key) for run in runs]
        if not values[0] or values[0] != values[1]:
            sys.exit(f"{key} differ: {values[0]} and {values[1]}")
    print(json.dumps({"repeated": True, "losses": runs[0]["losses"]}))


def executable():
    """The last program that cargo says it built."""
    messages = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    print([message["executable"] for message in messages if message.get("executable")][-1])


if __name__ == "__main__":
    {"record": record, "same": same, "executable": executable}[sys.argv[1]](*sys.argv[2:])
