"""Where in a file a network's weights are: under which prefix all of its names stand.

Trainers put something before every name: ``module.`` (DataParallel, averaged models), ``_orig_mod.`` (torch.compile),
``model.`` (Lightning), the keys of a checkpoint (``state_dict``, ``model_ema``), or several of these. None of it is
guessed: a prefix is right if every name of the network stands behind it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import torch

State = Mapping[str, torch.Tensor]

_INSERTED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What compiling, sharding and checkpointing insert into names, wherever the wrapped submodule is."""
_PARALLEL = "module"
"""What DataParallel inserts, which may wrap a submodule too; but networks may have a part of that name."""
_LEADING = {_PARALLEL, "model", "net", "network"}
"""What wrappers call the network that they wrap, where the wrapper is the model itself."""
_AVERAGED = {"ema", "swa", "average", "averaged", "averaging", "avg"}
_NO_WEIGHTS = {"optimizer", "optim", "grad", "grads", "gradients"}
_COUNTER = "num_batches_tracked"
"""Of batch norms; files from before torch 0.4.1 lack it, and nothing reads it here."""
_OF_AVERAGES = "n_averaged"
"""The counter that torch's AveragedModel keeps beside its network."""


@dataclass(frozen=True)
class Location:
    """Where a network's weights are in a file.

    Attributes:
        names: of each name of the network that was found, the one in the file.
        prefix: what stands before them there; empty for none.
        missing: names of the network that the file lacks.
        unexpected: names behind the prefix that the network does not have.
        others: further prefixes behind which all of the network stands.
        outside: other names in the file.
    """

    names: dict[str, str]
    prefix: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def describe(self) -> str:
        """What there is to say of a network that was found; empty if its names are all there is."""
        said = []
        if self.prefix:
            said.append(f"those behind {self.prefix!r}" + (", which are averaged" if _is_averaged(self.prefix) else ""))
        if self.others:
            said.append(f"not those behind {' or '.join(repr(p) for p in self.others)}")
        if self.outside:
            said.append(f"without {shortened(self.outside, 1)}")
        return ", ".join(said)


def locate(own: State, given: State) -> Location:
    """Finds the network whose ``state_dict`` is ``own`` among the tensors of a file.

    Where it stands behind several prefixes, those count whose shapes fit best, of these the averaged weights, and of
    these the first in the file. Where it stands behind none, the one that holds most of it says what is missing.
    """
    best = Location({}, "", missing=tuple(own), unexpected=tuple(given))
    inside = _INSERTED if any(_PARALLEL in name.split(".") for name in own) else _INSERTED | {_PARALLEL}
    for mine, inserted in product(_spellings(own), (_INSERTED, inside)):
        bare = _without(inserted, given)
        counts = _prefixes(mine, bare)
        needed = [name for name in mine if not _is_counter(name)]
        whole = [p for p in counts if all(p + name in bare for name in needed)]
        if whole:
            order = {p: _rank(p, mine, bare, own, given) for p in whole}
            chosen = min(whole, key=lambda p: order[p])  # the first of equals
            return _location(chosen, mine, bare, [p for p in whole if p != chosen])
        if counts:
            partly = _location(max(counts, key=lambda p: counts[p]), mine, bare, [])
            best = partly if len(partly.names) > len(best.names) else best
    return best


def shortened(names: Collection[str], most: int = 3) -> str:
    """``a, b, c and 9 more``."""
    first = list(names)[:most]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def _without(inserted: set[str], names: Iterable[str]) -> dict[str, str]:
    """Names without what wrappers insert, each with the whole name."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(".".join(part for part in name.split(".") if part not in inserted), name)
    return found


def _spellings(own: Iterable[str]) -> list[dict[str, str]]:
    """The network's own names without what is inserted; then, if it is a wrapper itself, also without its prefix."""
    spellings = [_without(_INSERTED, own)]
    while spellings[-1]:
        leading = {name.partition(".")[0] for name in spellings[-1]}
        if len(leading) > 1 or not leading <= _LEADING:
            break
        spellings.append({name.partition(".")[2]: whole for name, whole in spellings[-1].items()})
    return spellings


def _prefixes(own: Collection[str], given: Iterable[str]) -> Counter[str]:
    """How many of the network's names stand behind each prefix, in the order of the file."""
    counts: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    return counts


def _location(prefix: str, mine: Mapping[str, str], bare: Mapping[str, str], others: list[str]) -> Location:
    names = {whole: bare[prefix + name] for name, whole in mine.items() if prefix + name in bare}
    missing = [whole for whole in mine.values() if whole not in names and not _is_counter(whole)]
    known = {p + name for p in (prefix, *others) for name in mine}
    rest = [name for name in bare if name not in known and name.rpartition(".")[2] != _OF_AVERAGES]
    unexpected = [bare[name] for name in rest if name.startswith(prefix)]
    outside = [bare[name] for name in rest if not name.startswith(prefix)]
    return Location(names, prefix, tuple(missing), tuple(unexpected), tuple(others), tuple(outside))


def _rank(
    prefix: str, mine: Mapping[str, str], bare: Mapping[str, str], own: State, given: State
) -> tuple[int, bool, bool]:
    pairs = [(own[whole], given[bare[prefix + name]]) for name, whole in mine.items() if prefix + name in bare]
    unlike = sum(a.shape != b.shape for a, b in pairs)
    return unlike, bool(_words(prefix) & _NO_WEIGHTS), not _is_averaged(prefix)


def _is_averaged(prefix: str) -> bool:
    return bool(_words(prefix) & _AVERAGED)


def _words(prefix: str) -> set[str]:
    return set(re.split(r"[^a-z]+", prefix.lower()))


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == _COUNTER
