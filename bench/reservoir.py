"""What a reservoir is worth: MobileNetV2 learns eight classes of CIFAR-10, then the other two.

While it learns those, of the first eight there is only what reservoirs of several sizes and kinds kept.

python bench/reservoir.py --data DATA --weights mobilenet_v2_imagenet.pt [--json FILE]

DATA is what `sparsebp finetune --data` takes for CIFAR-10. The network trains inside 256 KB, 2 % of the convolution
weights a step, from a plan file with two spare outputs: --epochs over the pictures of the first eight classes, in steps
of 16. From there on each row of the table goes its own way: every picture of the other classes comes once, as
`sparsebp-runtime train --watch` takes it, with --replay features of a reservoir that was offered each picture of the
first classes once. Accuracy is of --test pictures a class from the test set. Prints Markdown: a table for each of
--seeds, then their mean and half the distance of the extremes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sparsebp
import torch
from sparsebp.data import Preprocess, open_dataset
from sparsebp.data.sources import Source
from sparsebp.runtime import Reservoir, Session
from sparsebp.runtime.encoding import KINDS, decode, encode
from sparsebp.units import format_bytes

HEAD = "| reservoir | kind | file | kept | error | all ten | first eight | last two |\n|" + "---|" * 8
OLD, ALL = 8, 10
BATCH = 16
ENOUGH = "all"
#: Size and kind of each reservoir; one for all pictures takes what it needs.
RESERVOIRS = ("none", *(f"{size}/{kind}" for size in ("1MB", "8MB", ENOUGH) for kind in ("uint8", "float16")))


@dataclass(frozen=True)
class Pictures:
    """Features and labels."""

    features: np.ndarray
    labels: np.ndarray

    def of(self, classes: range) -> Pictures:
        chosen = np.isin(self.labels, classes)
        return Pictures(self.features[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Row:
    """A line of the table: shares of recognised pictures, and of the stored features their error."""

    name: str
    kind: str
    kept: int
    file_bytes: int
    error: float
    all_ten: float
    first_eight: float
    last_two: float
    seconds: float


def features(session: Session, preprocess: Preprocess, source: Source, each: int) -> Pictures:
    """Of the first ``each`` pictures of every class, mixed."""
    chosen = np.concatenate([np.flatnonzero(source.labels == label)[:each] for label in range(ALL)])
    chosen = np.random.default_rng(0).permutation(chosen)
    made = [session.features(preprocess.fit(source.picture(int(i)))[None]) for i in chosen]
    return Pictures(np.concatenate(made), source.labels[chosen])


def plan(given: argparse.Namespace, seed: int, classes: list[str], path: Path) -> None:
    """A plan file of ImageNet's network, whose classifier is new."""
    torch.manual_seed(seed)
    net = sparsebp.models.mobilenet_v2(len(classes))
    sparsebp.load_weights(net, given.weights)
    sparsebp.widen(net, ALL)
    size = (3, given.input_size, given.input_size)
    model = sparsebp.convert(net, "256KB", input_size=size, max_update_ratio=0.02, normalise=True, seed=seed)
    spare = ALL - len(classes)
    sparsebp.export(model, path, classes=classes, spare_classes=spare, preprocess=preprocess(given), lr=given.lr)


def preprocess(given: argparse.Namespace) -> Preprocess:
    return Preprocess((given.input_size,) * 2, range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))


def learn(session: Session, pictures: Pictures, epochs: int) -> None:
    for epoch in range(epochs):
        order = np.random.default_rng(epoch + 1).permutation(len(pictures.labels))
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            session.train_features(pictures.features[chosen], pictures.labels[chosen])


def accuracy(session: Session, pictures: Pictures) -> float:
    found = session.predict_features(pictures.features).argmax(1)
    return float((found == pictures.labels).mean())


def add_classes(session: Session, classes: list[str]) -> None:
    for name in classes[OLD:]:
        session.add_class(name)


def go_on(session: Session, reservoir: Reservoir | None, new: Pictures, replay: int) -> None:
    """Each new picture once, as :func:`sparsebp.runtime.watch` takes it."""
    for i in range(len(new.labels)):
        x, y = new.features[i : i + 1], new.labels[i : i + 1]
        earlier, theirs = reservoir.draw(replay) if reservoir else (x[:0], y[:0])
        session.train_features(np.concatenate([x, earlier]), np.concatenate([y, theirs]))
        if reservoir:
            reservoir.add(x, y)


def error(reservoir: Reservoir, original: Pictures) -> float:
    """Of some stored features: the norm of what storing changed over their norm."""
    found, _ = reservoir.draw(50)
    rows = [original.features[np.abs(original.features - picture).max(1).argmin()] for picture in found]
    return float(np.linalg.norm(found - rows) / np.linalg.norm(rows))


def stored(pictures: Pictures, kind: str) -> Pictures:
    """As a reservoir would give them back."""
    return Pictures(np.stack([decode(*as_stored(picture, kind)) for picture in pictures.features]), pictures.labels)


def as_stored(picture: np.ndarray, kind: str) -> tuple[bytes, str, float, float]:
    data, offset, scale = encode(picture, kind)
    return data, kind, offset, scale


def measured(name: str, kind: str, session: Session, test: Pictures, **facts: float) -> Row:
    eight, two = accuracy(session, test.of(range(OLD))), accuracy(session, test.of(range(OLD, ALL)))
    whole = (OLD * eight + (ALL - OLD) * two) / ALL  # as many pictures of each class
    kept, size = int(facts.get("kept", 0)), int(facts.get("size", 0))
    row = Row(name, kind, kept, size, facts.get("error", 0.0), whole, eight, two, facts.get("seconds", 0.0))
    print(line(row), flush=True)
    return row


def line(row: Row) -> str:
    kept = f"{row.kept:,}" if row.kept else "-"
    size = format_bytes(row.file_bytes) if row.file_bytes else "-"
    wrong = f"{100 * row.error:.2f} %" if row.error else "-"
    shares = " | ".join(f"{100 * share:.1f} %" for share in (row.all_ten, row.first_eight, row.last_two))
    return f"| {row.name} | {row.kind or '-'} | {size} | {kept} | {wrong} | {shares} |"


def mean(runs: list[list[Row]]) -> list[str]:
    """Lines of the table, over several seeds."""
    lines = []
    for rows in zip(*runs, strict=True):
        shares = [[100 * getattr(row, key) for row in rows] for key in ("all_ten", "first_eight", "last_two")]
        cells = " | ".join(f"{np.mean(of):.1f} ±{(max(of) - min(of)) / 2:.1f} %" for of in shares)
        lines.append(" | ".join(line(rows[0]).split(" | ")[:5]) + f" | {cells} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet's weights of MobileNetV2")
    parser.add_argument("--input-size", type=int, default=128, help="pixels of a side (default: 128)")
    parser.add_argument("--train", type=int, default=300, help="pictures of each class to learn from (default: 300)")
    parser.add_argument("--test", type=int, default=200, help="pictures of each class to test with (default: 200)")
    parser.add_argument("--epochs", type=int, default=3, help="over the first eight classes (default: 3)")
    parser.add_argument("--replay", type=int, default=7, help="features of the reservoir in a step (default: 7)")
    parser.add_argument(
        "--reservoirs", nargs="+", default=RESERVOIRS, metavar="SIZE/KIND", help=f"(default: {' '.join(RESERVOIRS)})"
    )
    parser.add_argument("--lr", type=float, default=0.0003, help="learning rate, of 16 pictures (default: 0.0003)")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="of classifier, channels and reservoirs (default: 0 1 2)",
    )
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = open_dataset(given.data)
    classes = list(data.classes)
    runs = []
    for seed in given.seeds:
        print(f"\nseed {seed}\n\n{HEAD}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            runs.append(table(given, seed, data.train, data.test, classes, Path(place)))
    print("\nmean\n", HEAD, *mean(runs), sep="\n")
    if given.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
        given.json.write_text(
            json.dumps({"settings": settings, "runs": [list(map(asdict, rows)) for rows in runs]}, indent=1)
        )


def table(
    given: argparse.Namespace, seed: int, train: Source, tests: Source, classes: list[str], place: Path
) -> list[Row]:
    plan(given, seed, classes[:OLD], place / "plan")
    session = Session(place / "plan")
    known, test = (features(session, preprocess(given), s, n) for s, n in ((train, given.train), (tests, given.test)))
    old, new = known.of(range(OLD)), known.of(range(OLD, ALL))
    learn(session, old, given.epochs)
    session.save(place / "eight")
    add_classes(session, classes)
    rows = [measured("before the other two come", "", session, test)]
    for kind in KINDS:
        rows.append(measured("the same, of stored features", kind, session, stored(test, kind)))
    for name in given.reservoirs:
        size, _, kind = name.partition("/")
        session = Session(place / "eight")
        add_classes(session, classes)
        limit = needed(session, len(known.labels), kind) if size == ENOUGH else size
        reservoir = Reservoir.open(place / "kept", limit, session, kind=kind, seed=seed) if kind else None
        facts: dict[str, float] = {}
        if reservoir:
            reservoir.add(old.features, old.labels)
            facts = {"error": error(reservoir, old), "size": reservoir.size}
        begin = time.perf_counter()
        go_on(session, reservoir, new, given.replay)
        facts["seconds"] = time.perf_counter() - begin
        if reservoir:
            facts["kept"] = sum(reservoir.kept.values())
            reservoir.close()
            (place / "kept").unlink()
        rows.append(measured(size, kind, session, test, **facts))
    plan(given, seed, classes, place / "plan")
    session = Session(place / "plan")
    learn(session, known, given.epochs)
    return [*rows, measured("all ten from the beginning", "", session, test)]


def needed(session: Session, pictures: int, kind: str) -> int:
    """Bytes of a reservoir for so many pictures, and a little more."""
    return (pictures + 10) * (session.sizes.features * np.dtype(kind).itemsize + 32) + 65536


if __name__ == "__main__":
    main()
