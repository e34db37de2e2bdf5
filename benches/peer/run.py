#!/usr/bin/env python3
"""Runs our step and the Python peer's in turn, checks that both compute the same, and writes the table.

    make bench-peer PARITY_PYTHON=.venv/bin/python [PEER_ARGS="--rounds 3 --only bf16-1024,f32-1024 --weights DIR"]
    make bench-peer-cuda PARITY_PYTHON=.venv/bin/python   the same with both on the first GPU, and a whole run of ours

Every condition runs ours, the peer, ours, the peer, … in processes of their own from one directory of random weights, so that
both have the same weights, adapter, pixels and tokens. Losses and gradient norms of the first step must agree, or the run
fails. The table goes between the device's markers in docs/benchmarks.md; the raw lines go to `--log`.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKERS = {
    "cpu": ("<!-- peer table: begin -->", "<!-- peer table: end -->"),
    "cpu-avx2": ("<!-- peer table without AVX-512: begin -->", "<!-- peer table without AVX-512: end -->"),
    "cuda": ("<!-- peer table on a GPU: begin -->", "<!-- peer table on a GPU: end -->"),
}
# loss, gradient norm; relative. Integers are held against the peer's bf16, or against its f32 where it has no fast bf16.
TOLERANCE = {"float32": (1e-4, 1e-3), "bfloat16": (1e-2, 2e-2), "8 bits": (5e-3, 3e-2)}
EIGHT = ["--load-in-8bit"]
MASK = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}

# name: dtype, edge, what both get, what ours gets, what the peer gets, target of the ratio
CPU = {
    "bf16-512": ("bfloat16", 512, [], [], [], 0.62),
    "bf16-1024": ("bfloat16", 1024, [], [], [], 0.62),
    "bf16-2048": ("bfloat16", 2048, [], [], [], 0.62),
    "f32-512": ("float32", 512, [], [], [], 0.7),
    "f32-1024": ("float32", 1024, [], [], [], 0.7),
    "f32-2048": ("float32", 2048, [], [], [], 0.7),
    "bf16-1024-cached": ("bfloat16", 1024, [], ["--cached"], [], 0.3),
    "f32-1024-cached": ("float32", 1024, [], ["--cached"], [], 0.3),
    "bf16-1024-score": ("bfloat16", 1024, ["--forward-only"], [], [], 0.5),
    "f32-1024-score": ("float32", 1024, ["--forward-only"], [], [], 0.5),
    "int8-1024": ("bfloat16", 1024, [], EIGHT, [], 0.48),
    "int8-2048": ("bfloat16", 2048, [], EIGHT, [], 0.48),
    "int8-1024-cached": ("bfloat16", 1024, [], [*EIGHT, "--cached"], [], 0.3),
    "int8-1024-there": ("bfloat16", 1024, [], [*EIGHT, "--cached"], [], 0.22),
    "int8-1024-score": ("bfloat16", 1024, ["--forward-only"], EIGHT, [], 0.48),
    "f32-1024-avx2": ("float32", 1024, [], ["--isa", "avx2"], ["mask"], 1.0),
    "bf16-1024-avx2": ("bfloat16", 1024, [], ["--isa", "avx2"], ["mask"], 1.0),
    "int16-1024-avx2": ("bfloat16", 1024, [], ["--isa", "avx2", "--integers", "avx2"], ["mask", "float32"], 0.72),
}
CUDA = {
    "bf16-2048-batch8": ("bfloat16", 2048, ["--batch", "8"], [], [], 0.5),
    "bf16-2048-batch8-cached": ("bfloat16", 2048, ["--batch", "8"], ["--cached"], [], 0.3),
    "bf16-2048-batch8-score": ("bfloat16", 2048, ["--batch", "8", "--forward-only"], [], [], 0.5),
}
CONDITIONS = {"cpu": CPU, "cuda": CUDA}
# Ours alone on a GPU, from the start of the process to the saved adapter: arguments, seconds that it may take.
RUN = (["--dtype", "bfloat16", "--edge", "2048", "--batch", "8", "--slides", "800", "--epochs", "3", "--cached"], 60)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", default=str(ROOT / "target/release/examples/step"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--device", choices=CONDITIONS, default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="2 on the cpu, 20 on a GPU")
    parser.add_argument("--threads", type=int, help="2 on the cpu, all on a GPU")
    parser.add_argument("--only", help="conditions, `run` for the whole run on a GPU; left out, all of the device")
    parser.add_argument("--weights", help="directory for the random weights (1 GB), kept for the next run")
    parser.add_argument("--before", default="", help="command put before each measured process, e.g. one that stops other work")
    parser.add_argument("--log", help="by default target/bench-peer-cpu.jsonl or of the place in question")
    parser.add_argument("--table", action="store_true", help="only write the table of what the log holds")
    parser.add_argument("--machine", help="`avx2` for the table and the log of a processor without AVX-512")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.only = (options.only or ",".join([*CONDITIONS[options.device], *(["run"] if on_gpu else [])])).split(",")
    options.steps = options.steps or (20 if on_gpu else 2)
    options.threads = options.threads or (os.cpu_count() if on_gpu else 2)
    options.place = options.device + (f"-{options.machine}" if options.machine else "")
    if options.place not in MARKERS:
        parser.error(f"there is no table for `{options.place}`")
    options.log = options.log or str(ROOT / f"target/bench-peer-{options.place}.jsonl")
    return options


def measure(command, env=None):
    done = subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {shlex.join(command)}")
    return json.loads(done.stdout.strip().splitlines()[-1])


RATE = """
import json, time, torch
torch.set_num_threads({threads})
on_gpu, best = "{device}" == "cuda", 1e9
for m, k, n in ((8192, 960, 2560), (8192, 8192, 8192)) if on_gpu else ((1024, 960, 2560), (2048, 2048, 2048)):
    a, b = (torch.randn(*shape, device="{device}").to(torch.{dtype}) for shape in ((m, k), (n, k)))
    rounds, each = (5, 50) if on_gpu else (20, 1)
    for _ in range(rounds):
        t = time.perf_counter()
        for _ in range(each):
            torch.mm(a, b.T)
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - t) / (2e-9 * each * m * k * n))
print(json.dumps(dict(rate=1 / best)))
"""


def rate(options, before, weights):
    """The fastest product of this machine in GFLOP/s, by torch and by us: the ceiling that steps are held against."""
    where = ["--device", options.device, "--threads", str(options.threads)]
    for dtype in sorted({condition[0] for condition in CONDITIONS[options.device].values()}, reverse=True):
        program = RATE.format(threads=options.threads, device=options.device, dtype=dtype)
        theirs = measure([*before, options.python, "-c", program])["rate"]
        ours = measure([*before, options.step, "--rate", "--dtype", dtype, "--model", str(weights), *where])["rate"]
        record(options.log, dict(ceiling=dtype, ours=ours, theirs=theirs))


def read(log):
    return [json.loads(line) for line in open(log)] if os.path.exists(log) else []


def record(log, line):
    with open(log, "a") as file:
        file.write(json.dumps(line) + "\n")


def check(name, ours, theirs):
    """Both have computed the same first step."""
    tolerance = TOLERANCE["8 bits" if ours["load_in_8bit"] else ours["dtype"]]
    for what in ("tokens", "tiles", "params", "trainable"):
        if ours[what] != theirs[what]:
            sys.exit(f"{name}: {what} differ: {ours[what]} and {theirs[what]}")
    for key, bound in zip(("losses", "grad_norms"), tolerance):
        for a, b in list(zip(ours[key], theirs[key]))[:1]:
            if abs(a - b) > bound * abs(b):
                sys.exit(f"{name}: {key} of the first step differ: {a} and {b}")


def run(options, log):
    before = shlex.split(options.before)
    weights = pathlib.Path(options.weights or tempfile.mkdtemp(prefix="smolvlm-random-"))
    if not (weights / "adapter/adapter_model.safetensors").exists():
        subprocess.run([options.step, "--write", str(weights)], check=True)
    if not any("ceiling" in line for line in read(log)):
        rate(options, before, weights)
    peer = str(ROOT / "benches/peer/peer.py")
    where = ["--model", str(weights), "--device", options.device, "--threads", str(options.threads)]
    for name in options.only:
        if name == "run":
            line = measure([*before, options.step, *where, *RUN[0]])
            record(log, dict(run=line))
            print(f"{name}: {line['total_s']:.1f} s", file=sys.stderr)
            continue
        dtype, edge, both, ours_only, theirs_only, _ = CONDITIONS[options.device][name]
        shared = [*where, "--dtype", dtype, "--edge", str(edge), "--steps", str(options.steps), *both]
        mask = MASK if "mask" in theirs_only else {}
        # The peer keeps no features: with a cache on our side its steps are the same as without.
        plain = name.removesuffix("-cached").removesuffix("-there")
        known = [line["theirs"] for line in read(log) if name != plain and line.get("condition") == plain]
        theirs_shared = [*shared, "--dtype", "float32"] if "float32" in theirs_only else shared
        for round_ in range(options.rounds):
            ours = measure([*before, options.step, *shared, *ours_only])
            theirs = known[-1] if known else measure([*before, options.python, peer, *theirs_shared], mask)
            if ours["losses"]:
                check(name, ours, theirs)
            record(log, dict(condition=name, round=round_, ours=ours, theirs=theirs))
            print(f"{name} {round_}: {ours['step_s']:.3f} s, {theirs['step_s']:.3f} s", file=sys.stderr)


def flops(line):
    """Floating-point operations of what our step computes: two a multiplication with an addition."""
    tiles, tokens, answer = line["tiles"], line["tokens"] / line["batch"], 40
    per_tile = 12 * (2 * 1024 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 1024**2 * 768) + 2 * 1024 * 768**2 + 2 * 64 * 12288 * 960
    linears = 32 * (2 * 960 * 960 + 2 * 320 * 960 + 3 * 2560 * 960)
    text = tokens * (4 * linears + 6 * line["trainable"]) + 32 * 960 * tokens**2 * 7
    return line["batch"] * (per_tile * tiles + text + 4 * answer * 49280 * 960)


def seconds(name, line):
    """Seconds a step; with a cache over three epochs, of which the first computes the features."""
    return (line["first_s"] + 2 * line["step_s"]) / 3 if name.endswith("cached") else line["step_s"]


def plain_step(name):
    """Whether the step computes everything, in the arithmetic whose fastest product is known."""
    return not name.startswith("int") and name.split("-")[-1] in ("512", "1024", "2048", "batch8")


def table(options):
    lines = read(options.log)
    ceilings, digits = {}, 3 if options.device == "cuda" else 2
    for line in lines:
        if "ceiling" in line:
            ceilings[line["ceiling"]] = max(ceilings.get(line["ceiling"], 0), line["ours"], line["theirs"])
    rows = ["| condition | tokens | ours, s | peer, s | ratio | target | ours, MiB | peer, MiB | ratio | of the ceiling | loss, ours / peer | gradient norm |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, (dtype, edge, *_, target) in CONDITIONS[options.device].items():
        runs = [line for line in lines if line.get("condition") == name]
        if not runs:
            continue
        if options.machine and plain_step(name):
            target = 1.0  # where no kernel has wider registers: not slower than the peer
        last = max(i for i, run in enumerate(runs) if run["round"] == 0)
        runs = runs[last:]
        ours = statistics.median(seconds(name, run["ours"]) for run in runs)
        theirs = statistics.median(run["theirs"]["step_s"] for run in runs)
        memory = [statistics.median(run[who]["peak_mib"] for run in runs) for who in ("ours", "theirs")]
        o, t = runs[-1]["ours"], runs[-1]["theirs"]
        plain = plain_step(name)
        share = f"{flops(o) / ours / 1e9 / ceilings[dtype]:.0%}" if plain and dtype in ceilings else ""
        loss = f"{o['losses'][0]:.4f} / {t['losses'][0]:.4f}" if o["losses"] else ""
        norm = f"{o['grad_norms'][0]:.4f} / {t['grad_norms'][0]:.4f}" if o["losses"] else ""
        rows.append(f"| {name} | {o['tokens']} | {ours:.{digits}f} | {theirs:.{digits}f} | **{ours / theirs:.2f}** | {target} | {memory[0]:.0f} | "
                    f"{memory[1]:.0f} | **{memory[0] / memory[1]:.2f}** | {share} | {loss} | {norm} |")
    for line in [line["run"] for line in lines if "run" in line][-1:]:
        rows += ["", f"{line['slides']} slides × {line['epochs']:g} epochs from start to saved adapter, with the cache: "
                     f"**{line['total_s']:.1f} s** (target {RUN[1]} s), {line['peak_mib']} MiB at most."]
    if not any("condition" in line for line in lines):
        sys.exit("the log holds no condition yet")
    peer = next(line["theirs"] for line in lines if "condition" in line)
    ours = next(line["ours"] for line in lines if "condition" in line)
    versions = ", ".join(f"{name} {version}" for name, version in peer["versions"].items())
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.split()[1]
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    rounds = max(line.get("round", 0) for line in lines) + 1
    speed = peer["capability"] if options.device == "cpu" else f"CUDA {peer['cuda']}"
    intro = (f"{datetime.date.today()}; {cpu}, {os.cpu_count()} cores; ours: Rust {rustc}, {ours['backend']}; peer: Python "
             f"{platform.python_version()}, {versions}, {speed}, {peer['attention']}. Medians of up to {rounds} processes of each in "
             f"turn. Fastest matrix product of either: " + ", ".join(f"{rate:.0f} GFLOP/s in {dtype}" for dtype, rate in ceilings.items()) + ".")
    document = ROOT / "docs/benchmarks.md"
    text = document.read_text()
    markers = MARKERS[options.place]
    begin, end = (text.index(marker) for marker in markers)
    document.write_text(text[: begin + len(markers[0])] + "\n" + intro + "\n\n" + "\n".join(rows) + "\n" + text[end:])


def main():
    options = arguments()
    pathlib.Path(options.log).parent.mkdir(parents=True, exist_ok=True)
    if not options.table:
        run(options, options.log)
    table(options)


if __name__ == "__main__":
    main()
