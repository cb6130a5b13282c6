"""What a Linux board tells of itself: memory, temperature, whether it slows down."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

_ZONES = Path("/sys/class/thermal")
#: Where a Raspberry Pi says what it does about heat and a weak power supply; the bits are in its documentation.
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_NOW = {0: "its power is too low", 1: "its clock is capped", 2: "it is throttled", 3: "it is at its soft limit of heat"}
_CLOCKS = Path("/sys/devices/system/cpu/cpufreq")


def peak_memory() -> int:
    """The most bytes that this process ever had in memory.

    Where ``/proc`` is not there to ask, it may be what the process had that started this one.
    """
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def temperature() -> float | None:
    """Degrees Celsius of the hottest sensor; None where the kernel tells none."""
    found = [_number(zone / "temp") for zone in sorted(_ZONES.glob("thermal_zone*"))]
    degrees = [value / 1000 for value in found if value is not None]
    return max(degrees) if degrees else None


def throttling() -> str | None:
    """Why the processor runs slower than it could, in words; an empty text if it does not; None where none is told."""
    try:
        bits = int(_THROTTLED.read_text(), 16)
    except (OSError, ValueError):
        return _below_the_greatest_clock()
    return ", ".join(words for bit, words in _NOW.items() if bits >> bit & 1)


def _below_the_greatest_clock() -> str | None:
    """Where a limit is in force that is lower than what the hardware can do."""
    told = False
    for policy in sorted(_CLOCKS.glob("policy*")):
        limit, greatest = _number(policy / "scaling_max_freq"), _number(policy / "cpuinfo_max_freq")
        if limit is None or greatest is None:
            continue
        told = True
        if limit < greatest:
            return f"its clock is limited to {limit / 1e6:.2f} of {greatest / 1e6:.2f} GHz"
    return "" if told else None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
