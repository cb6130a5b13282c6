"""Random numbers that go on where they were: the n-th is a function of the seed and of n alone."""

from __future__ import annotations

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
"""The golden ratio's share of 2^64, by which splitmix64 goes on."""


class Draws:
    """Numbers of splitmix64.

    Args:
        seed: another one gives others.
        turn: how many were drawn before.
    """

    def __init__(self, seed: int, turn: int = 0) -> None:
        self._seed, self.turn = seed, turn

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        self.turn += 1
        x = (self._seed + self.turn * _STEP) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return (x ^ (x >> 31)) * count >> 64

    def some(self, count: int, among: int) -> list[int]:
        """``count`` different numbers below ``among``, or all of them in some order if there are no more."""
        moved: dict[int, int] = {}  # a shuffle's first part, without the list that it would shuffle
        chosen = []
        for place in range(min(count, among)):
            other = place + self.below(among - place)
            chosen.append(moved.get(other, other))
            moved[other] = moved.get(place, place)
        return chosen
