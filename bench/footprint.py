"""How much memory a process takes that fine-tunes MobileNetV2 at 128 pixels inside 256 KB, all of it, in several ways.

python bench/footprint.py [--steps 5] [--pictures 1000] [--mnn PYTHON] [--ort PYTHON]

Each way runs in a fresh process, which tells at its end what /proc/self/status says: VmHWM, the most that it ever had
in memory; RssFile, pages of files at the end, which the system may drop and read again; RssAnon, its own. A step's time
is the median of all but the first, on two threads. The C library is built in build/footprint; cmake and a C compiler
are needed for that. With --pictures the commands for boards, in Python and in C, train on as many of CIFAR-10's
pictures, one a step, from $SPARSEBP_DATA/cifar10_train.npz.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "footprint"
MEGABYTE = 1024  # in the kilobytes that the system counts in
Memory = dict[str, int]


def in_python(way: str, plan: Path, steps: int, python: str = sys.executable) -> Memory:
    """A function of footprint_ways.py in a process of its own."""
    script = (
        "import json, sys; from pathlib import Path; import footprint_ways as w; "
        f"print(json.dumps(w.measured(w.{way}(Path({str(plan)!r}), {steps}))))"
    )
    path = os.pathsep.join([str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def on_pictures(folder: Path, count: int) -> dict[str, Memory]:
    """The commands for boards, each a pass over so many pictures."""
    plan = folder / "one_a_step.safetensors"
    in_python("export_one_a_step", plan, 0)
    for kind in ("png", "ppm"):
        in_python(f"write_{kind}", folder / kind, count)
    rows = {
        f"sparsebp-runtime train, {count:,} PNG": in_python("command_with_pillow", plan, count),
        f"sparsebp-runtime train, {count:,} PPM, no Pillow": in_python("command_without_pillow", plan, count),
    }
    adapt = example()
    for few in (count // 10, count):
        in_python("write_ppm", folder / f"ppm{few}", few)
        words = [adapt, "train", plan, folder / "c.safetensors", 1, folder / f"ppm{few}"]
        said = subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout
        peak = int(float(re.findall(r"([0-9.]+) MB", said)[-1]) * MEGABYTE)
        rows[f"examples/board/adapt, {few:,} PPM"] = {"VmHWM": peak}
    return rows


def example() -> Path:
    """examples/board, built against the library as it is installed."""
    run = lambda *words: subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    installed, build = BUILD / "installed", BUILD / "board"
    run(cmake(), "--install", BUILD, "--prefix", installed)
    run(cmake(), "-S", ROOT / "examples" / "board", "-B", build, f"-DCMAKE_PREFIX_PATH={installed}")
    run(cmake(), "--build", build)
    return build / "adapt"


def cmake() -> Path:
    beside = Path(sys.executable).with_name("cmake")
    return beside if beside.exists() else Path("cmake")


def program() -> Path:
    """bench/native/footprint.c, linked to the C library."""
    run = lambda *words: subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    run(cmake(), "-S", ROOT, "-B", BUILD, "-DSPARSEBP_PYTHON=OFF", "-DSPARSEBP_LIBRARY=ON")
    run(cmake(), "--build", BUILD, "--parallel", os.cpu_count() or 1)
    out, source = BUILD / "footprint", ROOT / "bench" / "native" / "footprint.c"
    libraries = [BUILD / "libsparsebp_core.a", "-lstdc++", "-lpthread", "-ldl", "-lm"]
    run("cc", "-O2", f"-I{ROOT / 'include'}", source, "-o", out, *libraries)
    return out


def in_c(binary: Path, *words: object) -> Memory:
    done = subprocess.run([binary, *map(str, words)], check=True, capture_output=True, text=True)
    fields = (line.partition(":") for line in done.stdout.splitlines())
    return {key: int(rest.split()[0]) for key, _, rest in fields}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="training steps of each process")
    parser.add_argument(
        "--pictures", type=int, default=0, help="how many the commands for boards train on (default: 0)"
    )
    parser.add_argument("--mnn", metavar="PYTHON", help="a Python that has MNN: adds a row for it")
    parser.add_argument("--ort", metavar="PYTHON", help="a Python that has ONNX Runtime's training: likewise")
    given = parser.parse_args()
    steps = given.steps
    binary = program()
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.safetensors"
        in_python("export", plan, 0)
        alone = in_python("numpy_alone", plan, steps)
        rows = {
            "C program": in_c(binary, plan, steps),
            "C program that also saves a delta": in_c(binary, plan, steps, Path(folder) / "delta"),
            "numpy imported, nothing else": alone,
            "sparsebp.runtime": in_python("runtime", plan, steps),
            "PyTorch with sparsebp": in_python("autograd", plan, steps),
            "PyTorch, every weight trained": in_python("dense", plan, steps),
        }
        if given.mnn:
            rows["MNN, every weight trained"] = in_python("mnn", plan, steps, given.mnn)
        if given.ort:
            in_python("export_onnx", plan, 0)
            in_python("prepare_ort", plan, 0, given.ort)
            rows["ONNX Runtime, every weight trained"] = in_python("ort", plan, steps, given.ort)
        if given.pictures:
            rows |= on_pictures(Path(folder), given.pictures)
        sizes = f"plan file {plan.stat().st_size:,} bytes, delta {(Path(folder) / 'delta').stat().st_size:,} bytes"
    print(f"{steps} steps; {sizes}\n")
    print("| process | VmHWM, MB | RssAnon | RssFile | step, ms |\n|---|---|---|---|---|")
    for name, row in rows.items():
        units = {"VmHWM": MEGABYTE, "RssAnon": MEGABYTE, "RssFile": MEGABYTE, "step": 1000}
        print(f"| {name} |", *(f"{row[k] / unit:.1f} |" if k in row else "|" for k, unit in units.items()))
    above = (rows["sparsebp.runtime"]["VmHWM"] - alone["VmHWM"]) / MEGABYTE
    print(f"\nsparsebp.runtime is {above:.1f} MB above numpy.")


if __name__ == "__main__":
    main()
