#!/usr/bin/env python3
"""What four shards of a scoring cost beside one process: CPU seconds, and time where the machine is quiet.

    benches/shards.py PQ_SCORE PROJECT [ROUNDS [arguments of pq-score …]]

PROJECT is a project's folder with a manifest and a run or release, such as `make demo` leaves; parts are written to a temporary folder,
nothing else is. In turn: one process of one thread; four shards of one thread each, as many at once as there are cores. The results are
compared byte for byte. Python 3, nothing else.
"""
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

AT = "2026-11-30T06:00:00Z"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, project, rounds, *rest = [*sys.argv[1:], "3"] if len(sys.argv) == 3 else sys.argv[1:]
    program, cores = os.path.abspath(program), os.cpu_count()
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}

    def start(folder, shard, shards):
        command = [program, "data/raw/manifest.jsonl", "--parts", folder, "--shard", f"{shard}/{shards}"]
        return subprocess.Popen([*command, "--scored-at", AT, *rest], cwd=project, env=environment, stderr=subprocess.DEVNULL)

    def run(folder, shards):
        before, start_of_all = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        for first in range(0, shards, cores):
            processes = [start(folder, shard, shards) for shard in range(first, min(first + cores, shards))]
            if any(process.wait() for process in processes):
                sys.exit("a shard failed")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        merged = ["merge", folder, "--no-log", "--output", f"{folder}/scored.parquet"]
        elapsed = time.monotonic() - start_of_all
        subprocess.run([program, *merged, *rest], cwd=project, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return used, elapsed, pathlib.Path(folder, "scored.parquet").read_bytes()

    results, load = {1: [], 4: []}, os.getloadavg()[0]
    for _ in range(int(rounds)):
        for shards in results:
            with tempfile.TemporaryDirectory() as folder:
                results[shards].append(run(folder, shards))
    same = len({result[2] for of_count in results.values() for result in of_count}) == 1
    cpu, elapsed = ({shards: statistics.median(r[at] for r in of) for shards, of in results.items()} for at in (0, 1))
    for shards in results:
        print(f"{shards} shards: {cpu[shards]:.2f} CPU seconds, {elapsed[shards]:.2f} s (median of {rounds})")
    print(f"by CPU seconds: {cpu[1] / cpu[4]:.3f}; by time on {cores} cores: {elapsed[1] / elapsed[4] / min(cores, 4):.3f}")
    print(f"load {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end; the results are {'the same bytes' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
