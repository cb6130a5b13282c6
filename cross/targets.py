"""The architectures that wheels are built for, as everybody calls them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One architecture.

    Attributes:
        triplet: in the names of compilers and of Python's modules.
        platform: in the names of wheels.
        debian: in the names of Debian's packages.
        crossed: built by the compiler of cross/bin, whatever machine builds. Not x86-64: there zig's run-time library
            sees no AVX.
    """

    triplet: str
    platform: str
    debian: str
    crossed: bool = True


TARGETS = {
    "x86_64": Target("x86_64-linux-gnu", "x86_64", "amd64", crossed=False),
    "aarch64": Target("aarch64-linux-gnu", "aarch64", "arm64"),
    "armhf": Target("arm-linux-gnueabihf", "armv7l", "armhf"),
}
"""By the name that toolchain files and the targets of make have."""
