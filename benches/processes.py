#!/usr/bin/env python3
"""How much faster two processes on two cores are than one: the same optimizer step of two passes on SmolVLM-500M's geometry.

    cargo build --release -p vlm-lora --example step
    target/release/examples/step --write WEIGHTS
    benches/processes.py target/release/examples/step WEIGHTS [ROUNDS [arguments of the example …]]

In turn: one process on one core, one process of two threads, two processes of one thread each, bound to a core each. Efficiency is the
time of one core over twice that of the two processes. CPU seconds of each, loading and all steps, are told too: they hold where others
compute on the machine as well, and the times do not. Python 3 and taskset, nothing else.
"""
import json
import os
import resource
import socket
import statistics
import subprocess
import sys


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(cores, step, threads, arguments):
    command = ["taskset", "-c", cores, step, "--passes", "2", "--threads", str(threads), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_result(make):
    before = cpu_seconds()
    processes = make()
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("the example failed")
    return json.loads(outputs[0].splitlines()[-1]), cpu_seconds() - before


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    step, weights, rounds, *rest = [*sys.argv[1:], "3"] if len(sys.argv) == 3 else sys.argv[1:]
    arguments = ["--model", weights, *(rest or ["--dtype", "bfloat16", "--edge", "512", "--steps", "3"])]
    times, losses, used = {}, {}, {}
    load = os.getloadavg()[0]
    for _ in range(int(rounds)):
        port = str(free_port())
        of_two = [["--rank", str(rank), "--of", "2", "--port", port] for rank in range(2)]
        for name, make in (
            ("one core", lambda: [start("0", step, 1, arguments)]),
            ("one process, two threads", lambda: [start("0,1", step, 2, arguments)]),
            ("two processes", lambda: [start(str(rank), step, 1, arguments + of_two[rank]) for rank in range(2)]),
        ):
            result, cpu = first_result(make)
            used.setdefault(name, []).append(cpu)
            times.setdefault(name, []).extend(result["times_s"][1:])
            losses[name] = result["losses"]
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s a step (least {min(times[name]):.3f}, {len(times[name])} steps)")
    for name, seconds in used.items():
        print(f"{name}: {statistics.median(seconds):.1f} CPU seconds in all (least {min(seconds):.1f})")
    print(f"load of the machine: {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end")
    print(f"efficiency of two processes: {medians['one core'] / medians['two processes'] / 2:.2f}")
    print(f"beside two threads: {medians['one process, two threads'] / medians['two processes']:.2f} times as fast")
    apart = max(abs(one - two) for one, two in zip(losses["one core"], losses["two processes"]))
    print(f"losses at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
