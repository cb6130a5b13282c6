"""Federated CIFAR-10: what one set a round is worth in accuracy, and in traffic, beside other ways.

python bench/federated.py run --data DATA --weights mobilenet_v2_imagenet.pt
python bench/federated.py table
python bench/federated.py plot

DATA is what `sparsebp finetune --data` takes for CIFAR-10. MobileNetV2 trains inside 256 KB on each of the clients,
whose pictures are divided by a Dirichlet distribution, class by class. All of it runs in one process, with the code of
sparsebp.federated and without Flower; what the frozen layers make of the pictures is computed once. `run` leaves out
what has a result already; an interrupted way begins anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from federated_setting import Setting, Shared
from federated_tables import draw, markdown
from federated_ways import WAYS, rounds

RESULTS = "results.jsonl"
DEFAULT_OUT = Path("bench/results/federated")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results so far."""
    file = folder / RESULTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run(given: argparse.Namespace) -> None:
    """Carries out what has no result yet."""
    torch.set_num_threads(given.threads)
    for seed in given.seeds:
        chosen = {f.name: getattr(given, f.name) for f in fields(Setting) if f.name != "seed"}
        setting = Setting(**chosen, seed=seed)
        done = {(r["way"], r["identity"]) for r in read_results(given.out)}
        due = [way for way in given.ways if (way, setting.identity) not in done]
        if not due:
            continue
        given.out.mkdir(parents=True, exist_ok=True)
        shared = Shared(setting, given.data, given.weights, given.out)
        for way in due:
            result = carry_out(way, setting, shared)
            with (given.out / RESULTS).open("a") as file:
                file.write(json.dumps(result) + "\n")


def carry_out(way: str, setting: Setting, shared: Shared) -> dict[str, Any]:
    """One way, from the first round to the last."""
    begin, accuracy, down, up = time.process_time(), [], [], []
    for now in rounds(way, setting, shared):
        accuracy.append(shared.accuracy(now.session))
        down.append(now.down)
        up.append(now.up)
        said = f"{way}, seed {setting.seed}, round {len(accuracy)} of {setting.rounds}: {accuracy[-1]:.2%}"
        print(f"{said}, {time.process_time() - begin:.0f} s", file=sys.stderr, flush=True)
    return {
        "way": way,
        "identity": setting.identity,
        "setting": asdict(setting),
        "accuracy": accuracy,
        "bytes_down": down,
        "bytes_up": up,
        "pictures": [len(part) for part in shared.parts],
        "seconds": round(time.process_time() - begin, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="run | table | plot", required=True)
    run_ = commands.add_parser("run", help="carry out what has no result yet")
    run_.add_argument("--data", type=Path, required=True, help="CIFAR-10")
    run_.add_argument("--weights", type=Path, required=True, help="ImageNet's weights of MobileNetV2")
    run_.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS], help="(default: all)")
    run_.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of division, classifier, channels (default: 0)"
    )
    run_.add_argument("--threads", type=int, default=1, help="(default: 1)")
    for field in fields(Setting):
        if field.name != "seed":
            kind = type(field.default)
            run_.add_argument(f"--{field.name}", type=kind, default=field.default, help=f"(default: {field.default})")
    run_.set_defaults(call=run)
    table = commands.add_parser("table", help="show the results so far, as Markdown")
    table.set_defaults(call=lambda given: print(markdown(read_results(given.out)), end=""))
    plot = commands.add_parser("plot", help="draw accuracy over rounds and over traffic")
    plot.add_argument("--to", type=Path, metavar="FILE", default=None, help="(default: federated.png in --out)")
    plot.set_defaults(call=lambda given: draw(read_results(given.out), given.to or given.out / "federated.png"))
    for command in (run_, table, plot):
        command.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"of {RESULTS} (default: {DEFAULT_OUT})")
    given = parser.parse_args()
    given.call(given)


if __name__ == "__main__":
    main()
