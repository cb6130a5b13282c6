"""How long ``sparsebp.convert`` takes for MobileNetV2 with 256 KB: the first call of a process, and calls after it.

python bench/convert_time.py [128 224] [--processes 5] [--calls 5]

CPU time of one thread, medians; importing and making the model are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import sparsebp
import torch

SIZES = (128, 224)
CLASSES = 10


def measure(size: int, calls: int) -> list[float]:
    """Seconds of each call, each with a model of its own."""
    torch.set_num_threads(1)
    convert, seconds = sparsebp.convert, []  # which is imported when it is asked for
    for _ in range(calls):
        model = sparsebp.models.mobilenet_v2(CLASSES)
        began = time.process_time()
        convert(model, "256KB", input_size=(3, size, size), max_update_ratio=0.02)
        seconds.append(time.process_time() - began)
    return seconds


def in_fresh_processes(size: int, processes: int, calls: int) -> list[list[float]]:
    command = [sys.executable, __file__, str(size), "--calls", str(calls), "--in-this-process"]
    return [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(processes)]


def table(measured: dict[int, list[list[float]]]) -> str:
    """Medians by size, as Markdown."""
    lines = ["| input | first call, s | later calls, s |", "|---|---|---|"]
    for size, runs in measured.items():
        first = statistics.median(run[0] for run in runs)
        later = statistics.median(seconds for run in runs for seconds in run[1:])
        lines.append(f"| {size} | {first:.2f} | {later:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="SIZE", help="pixels a side")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes of each size")
    parser.add_argument("--calls", type=int, default=5, help="calls in each of them, at least 2")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.in_this_process:
        print(json.dumps(measure(asked.sizes[0], asked.calls)))
        return
    if asked.processes < 1 or asked.calls < 2:
        parser.error("expected at least 1 process and 2 calls")
    print(table({size: in_fresh_processes(size, asked.processes, asked.calls) for size in asked.sizes}))


if __name__ == "__main__":
    main()
