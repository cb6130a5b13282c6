"""A built wheel keeps what its name promises: processor, Python, and no C library newer than its tag.

``SPARSEBP_WHEELS`` names wheels, with spaces between them; ``make check-aarch64`` and ``make check-runtime`` build some
and run these tests.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

MACHINES = {
    "aarch64": ("EM_AARCH64", "aarch64-linux-gnu"),
    "armv7l": ("EM_ARM", "arm-linux-gnueabihf"),
    "x86_64": ("EM_X86_64", "x86_64-linux-gnu"),
}
"""By what wheels call them: what ELF files do, and Python's modules."""
C_LIBRARY = {
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"),
    *("ld-linux-aarch64.so.1", "ld-linux-armhf.so.3", "ld-linux-x86-64.so.2"),
}
MOST_BYTES = {"sparsebp": 2_000_000, "sparsebp_runtime": 1024 * 1024}


@pytest.fixture(params=os.environ.get("SPARSEBP_WHEELS", "").split() or [None])
def wheel(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("SPARSEBP_WHEELS names no wheel")
    return Path(request.param)


@pytest.fixture
def module(wheel: Path) -> ELFFile:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if ".so" in Path(name).suffixes]
        promise = re.fullmatch(r"(\w+)-[^-]+-cp(\d+)-cp\2-\w+[\w.]*_(aarch64|armv7l|x86_64)\.whl", wheel.name)
        package, python, machine = promise.groups()
        elf_name, triplet = MACHINES[machine]
        assert name == f"{package}/_C.cpython-{python}-{triplet}.so"
        file = ELFFile(io.BytesIO(archive.read(name)))
    assert file["e_machine"] == elf_name
    return file


def promised(wheel: Path) -> tuple[int, int]:
    """The C library that the least of the wheel's platform tags asks for."""
    tags = wheel.stem.split("-")[-1].split(".")
    found = [re.match(r"manylinux_(\d+)_(\d+)_", tag) for tag in tags]
    return min((int(m[1]), int(m[2])) for m in found if m)


def test_it_installs_on_raspberry_pi_os_11_or_with_cuda_on_a_jetson(wheel: Path, module: ELFFile) -> None:
    with_cuda = module.get_section_by_name(".nv_fatbin") is not None
    if wheel.name.startswith("sparsebp_runtime") and wheel.name.endswith("x86_64.whl"):
        pytest.skip("built by this machine's compiler, for systems no older than its own; no board's")
    assert promised(wheel) <= ((2, 31) if with_cuda else (2, 28))


def test_it_asks_for_no_c_library_newer_than_its_tag(wheel: Path, module: ELFFile) -> None:
    versions = [
        version.name
        for section in module.iter_sections()
        if isinstance(section, GNUVerNeedSection)
        for _, needed in section.iter_versions()
        for version in needed
    ]
    glibc = [tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in versions if name.startswith("GLIBC_")]
    assert glibc, "a module that needs no C library would be a surprise"
    assert max(glibc)[:2] <= promised(wheel)
    assert {name.partition("_")[0] for name in versions} <= {"GLIBC"}, "no symbol of libstdc++ or libgcc"


def test_it_brings_all_but_the_c_library(module: ELFFile) -> None:
    """Neither torch nor Python: their symbols come from the process that imports the module."""
    dynamic = next(section for section in module.iter_sections() if isinstance(section, DynamicSection))
    needed = {tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}
    assert needed <= C_LIBRARY
    assert not [tag for tag in dynamic.iter_tags() if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")]


def test_it_exports_nothing_but_its_entry(module: ELFFile) -> None:
    table = next(
        section
        for section in module.iter_sections()
        if isinstance(section, SymbolTableSection) and section.name == ".dynsym"
    )
    exported = [
        symbol.name
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK")
    ]
    assert exported == ["PyInit__C"]


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES[wheel.name.partition("-")[0]]
