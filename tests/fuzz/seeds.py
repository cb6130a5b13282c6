"""Writes the bytes that the fuzzer of the native core begins with: any bytes are a program and calls to it."""

import random
import sys
from pathlib import Path

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
draw = random.Random(0)
for i in range(100):
    (folder / f"{i:03}").write_bytes(draw.randbytes(draw.randint(32, 512)))
