"""Keep learning from the pictures that a camera drops into a folder: python examples/camera_folder.py FOLDER WEIGHTS.

FOLDER holds a folder per class, as in FOLDER/cat/0001.jpg. Every picture trains one step as soon as it is there, inside
the budget. Ctrl-C, or `--stop-after` pictures, saves the weights, which the plain network loads on any machine. Given
as WEIGHTS they go on, by the names of the classes. Exit code 1: the loss diverged, and what was saved before is there.
"""

import random
import resource
import signal
import time
from pathlib import Path

import numpy as np
import sparsebp
import torch
import typer
from PIL import Image, UnidentifiedImageError
from sparsebp.networks.pretrained import write_weights
from torch.nn.functional import cross_entropy

THERMOMETER = Path("/sys/class/thermal/thermal_zone0/temp")  # thousandths of a degree, on most boards


def read(file: Path, size: int) -> torch.Tensor:
    """A picture as the ImageNet weights want it: [1, 3, size, size], in [-1, 1]."""
    image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


def health(seconds: float) -> str:
    """Time of a step, most memory the process ever held, temperature if the board tells."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    heat = f", {int(THERMOMETER.read_text()) / 1000:.0f} degrees" if THERMOMETER.exists() else ""
    return f"{1000 * seconds:.0f} ms a step, at most {peak:.0f} MB{heat}"


def main(folder: Path, weights: Path, budget: str = "256KB", size: int = 129, out: Path = Path("camera.safetensors"),
         threads: int = 0, lr: float = 0.0001, stop_after: int = 0, every: int = 20, save_every: int = 500,
         patience: float = 2.0) -> None:  # fmt: skip
    random.seed(0)
    torch.manual_seed(0)  # the new classifier's
    if threads:
        torch.set_num_threads(threads)
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise typer.BadParameter(f"{folder} holds {len(classes)} folders with a class each; two are the least")
    model = sparsebp.models.mobilenet_v2(len(classes))
    loaded = sparsebp.load_weights(model, weights, classes)
    model = sparsebp.convert(model, budget, input_size=(3, size, size), max_update_ratio=0.02, normalise=True).train()
    groups = [{"params": [p for p in model.trained_parameters() if p.dim() > 1]}]
    groups.append({"params": [p for p in model.trained_parameters() if p.dim() == 1], "lr": 4 * lr})
    opt = sparsebp.optim.SGD(groups, lr=lr, normalise=True)
    print(f"{len(classes)} classes ({loaded.classifier}); {len(model.plan.layers)} layers train in "
          f"{model.plan.peak_bytes:,} bytes")  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as a service manager stops a program
    seen, steps, spent, right, average, good = set(), 0, 0.0, 0, 1.0, True
    try:
        while not stop_after or steps < stop_after:
            new, before = sorted(set(folder.glob("[!.]*/*")) - seen), steps
            random.shuffle(new)  # one class after the other would be forgotten as fast as it is learnt
            for file in new[: stop_after - steps] if stop_after else new:
                if file.parent.name not in classes:
                    print(f"{file}: no class of this run")
                    seen.add(file)
                    continue
                try:
                    image = read(file, size)
                except (UnidentifiedImageError, OSError):
                    if not file.exists() or time.time() - file.stat().st_mtime >= patience:
                        print(f"{file}: no picture")
                        seen.add(file)
                    continue  # perhaps it is still being written
                seen.add(file)
                begin, label = time.perf_counter(), torch.tensor([classes.index(file.parent.name)])
                scores = model(image)
                loss = cross_entropy(scores, label)
                average = 0.98 * average + 0.02 * loss.item()
                if not average < 30:
                    raise FloatingPointError(f"the running loss is {average:.3g}")
                if steps and steps % save_every == 0:  # these weights were good for this picture
                    write_weights(out, model, {"classes": classes})
                loss.backward()
                opt.step()
                opt.zero_grad()
                steps, spent = steps + 1, spent + time.perf_counter() - begin
                right += int(scores.argmax(1) == label)  # before it was learnt from
                if steps % every == 0:
                    print(f"{steps} pictures, {right / every:.0%} known before, {health(spent / every)}", flush=True)
                    spent, right = 0.0, 0
            if steps == before:
                time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    except FloatingPointError as error:
        good = False
        print(f"picture {steps + 1}: training diverged, {error}; take a smaller --lr, a third of {lr:g}")
        raise typer.Exit(1) from error
    finally:  # whatever else happened, what was learnt is saved
        if good:
            write_weights(out, model, {"classes": classes})
            print(f"{out}: weights after {steps} pictures")


if __name__ == "__main__":
    typer.run(main)
