"""Times training and recognising, and tells memory, temperature and throttling, with random pictures."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..board import peak_memory, temperature, throttling
from ..session import Session
from ..stop import StopRequest
from ..threads import set_threads
from .options import add_plan, add_threads, between

_WARMING = 3  # calls that are not counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_plan(parser)
    parser.add_argument(
        "--seconds",
        type=between(0, 1e6),
        default=10.0,
        metavar="S",
        help="for how long (default: 10); a board that gets hot needs minutes",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_threads(parser)


def run(given: argparse.Namespace) -> int:
    threads = set_threads(given.threads)
    session = Session(given.plan)
    session.rate = 0.0  # the same work, and weights of noise do not diverge
    sizes = session.sizes
    noise = random.Random(0).randbytes(sizes.batch * sizes.height * sizes.width * sizes.channels)
    pixels: np.ndarray = np.frombuffer(noise, np.uint8).reshape(sizes.batch, sizes.height, sizes.width, sizes.channels)
    if "preprocess" not in session.metadata:
        pixels = pixels.astype(np.float32) / 255
    labels = [i % sizes.classes for i in range(sizes.batch)]
    with StopRequest() as stop:
        steps = _times(lambda: session.train(pixels, labels), 0.8 * given.seconds, stop)
        looks = _times(lambda: session.predict(pixels[:1]), 0.2 * given.seconds, stop)
    facts: dict[str, Any] = {
        "threads": threads,
        "step_ms": _summary(steps),
        "pictures_a_step": sizes.batch,
        "predict_ms": _summary(looks),
        "training_bytes": sizes.arena_bytes,
        "workspace_bytes": sizes.workspace_bytes,
        "whole_step": sizes.whole_step,
        "peak_memory_bytes": peak_memory(),
        "degrees": temperature(),
        "throttling": throttling(),
    }
    print(json.dumps(facts, indent=1) if given.json else _words(facts))
    return 0


def _times(call: Callable[[], object], seconds: float, stop: StopRequest) -> list[float]:
    for _ in range(_WARMING):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        stop.check()
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def _median(times: list[float]) -> float:
    """The greater one of two; ``numpy.median`` loads masked arrays, which would count in the memory that is told."""
    return sorted(times)[len(times) // 2]


def _summary(times: list[float]) -> dict[str, float]:
    tenth = max(1, len(times) // 10)
    return {
        "median": _median(times),
        "first": _median(times[:tenth]),
        "last": _median(times[-tenth:]),
        "longest": max(times),
        "calls": len(times),
    }


def _blocks(facts: dict[str, Any]) -> str:
    if facts["whole_step"]:
        return f"a step {facts['training_bytes']:,} bytes beside the weights"
    return f"training {facts['training_bytes']:,} bytes, inference {facts['workspace_bytes']:,}"


def _words(facts: dict[str, Any]) -> str:
    step, look = facts["step_ms"], facts["predict_ms"]
    slows, heat, peak = facts["throttling"], facts["degrees"], facts["peak_memory_bytes"] / 2**20
    return "\n".join(
        [
            f"a step of {facts['pictures_a_step']} on {facts['threads']} threads: {step['median']:.1f} ms, the median "
            f"of {step['calls']}; at first {step['first']:.1f}, at the end {step['last']:.1f}, at most "
            f"{step['longest']:.1f}",
            f"recognising one picture: {look['median']:.1f} ms",
            f"memory: {_blocks(facts)}; this process at most {peak:.1f} MB",
            f"temperature: {'not told' if heat is None else f'{heat:.0f} degrees'}",
            f"throttling: {'not told' if slows is None else slows or 'none'}",
        ]
    )
