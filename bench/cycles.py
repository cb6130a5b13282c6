"""Cycles of the NEON kernels' inner loops, as llvm-mca estimates them: `make cycles`.

A loop's share of peak is the time that its fused multiply-adds of four floats (FMA) would take alone, over the time
that all its instructions take. Loads are taken to hit the first cache. llvm-mca has no model of the Cortex-A76 of its
own; the Neoverse N1 is the same core.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

PROCESSORS = {"Cortex-A53": "cortex-a53", "Cortex-A72": "cortex-a72", "Cortex-A76": "neoverse-n1"}
KERNELS = {
    "gemm": "matrix product",
    "gemm_tile_of": "matrix product",
    "weight_grad": "weight gradient",
    "weight_grad_tile": "weight gradient",
    "conv_forward": "convolution",
}
"""What they are called in the table; the first two are all of a pointwise convolution."""
INDEPENDENT = [f"fmla v{i}.4s, v30.4s, v31.s[0]" for i in range(20)]
LEAST = 4  # multiply-adds of a loop that is worth a line
TURNS = 200


@dataclass(frozen=True)
class Loop:
    kernel: str
    instructions: tuple[str, ...]

    @property
    def multiply_adds(self) -> int:
        """Of whole vectors."""
        return sum(line.startswith("fmla") for line in self.instructions)


def loops(assembly: str) -> Iterator[Loop]:
    """Innermost loops without a branch inside: a label, instructions, and a branch back to the label."""
    function, labels, block = "", {}, []
    for line in assembly.splitlines():
        if label := re.match(r"([.\w$]+):", line):
            if not label[1].startswith(".L"):
                function = label[1]
            labels, block = {label[1]}, []
        elif instruction := re.match(r"\s+([a-z][\w.]*)\s*(.*?)\s*(//.*)?$", line):
            block.append(f"{instruction[1]} {instruction[2]}")
            if back := re.match(r"(?:b\.\w+|cbn?z|tbn?z)\b.*?(\.L\w+)$", block[-1]):
                if back[1] in labels:
                    yield Loop(kernel_of(function), tuple(block))
                labels, block = set(), []


def kernel_of(function: str) -> str:
    """The name in the source of a mangled function of an anonymous namespace."""
    found = re.search(r"_GLOBAL__N_1(\d+)", function)
    if not found:
        return function
    # Digits of the name's length follow the 1 of the namespace.
    return function[found.end() :][: int(found[1])]


def cycles(instructions: tuple[str, ...] | list[str], processor: str, llvm_mca: Path) -> float:
    """Of one turn."""
    command = [llvm_mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={processor}", f"-iterations={TURNS}"]
    text = "".join(f"{line}\n" for line in instructions)
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1]) / TURNS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", type=Path, help="csrc/isa/neon.cpp, compiled for aarch64 with -S")
    parser.add_argument("--llvm-mca", type=Path, default=Path("cross/bin/llvm-mca"))
    args = parser.parse_args()
    found = {loop for loop in loops(args.assembly.read_text()) if loop.multiply_adds >= LEAST}
    chosen = [loop for loop in found if loop.kernel in KERNELS]
    if not chosen:
        sys.exit(f"{args.assembly}: no inner loop of a kernel found")
    peaks = {cpu: len(INDEPENDENT) / cycles(INDEPENDENT, cpu, args.llvm_mca) for cpu in PROCESSORS.values()}
    table = Table("inner loop", "FMA", "all", title="cycles of one turn, and share of peak")
    for name in PROCESSORS:
        table.add_column(name, justify="right")
    order = list(KERNELS.values())
    for loop in sorted(chosen, key=lambda loop: (order.index(KERNELS[loop.kernel]), -loop.multiply_adds)):
        row = [KERNELS[loop.kernel], str(loop.multiply_adds), str(len(loop.instructions))]
        for cpu in PROCESSORS.values():
            taken = cycles(loop.instructions, cpu, args.llvm_mca)
            row.append(f"{taken:.1f} {loop.multiply_adds / taken / peaks[cpu]:4.0%}")
        table.add_row(*row)
    console = Console()
    console.print(table)
    for name, cpu in PROCESSORS.items():
        console.print(f"{name}: at most {peaks[cpu]:.2f} multiply-adds of four floats a cycle")


if __name__ == "__main__":
    main()
