"""Writing files so that a kill or a power cut leaves the old one or the new one, and checking early that it can be."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def as_path(value: str | os.PathLike[str], argument: str) -> Path:
    """``value`` as a path; ``argument`` names it in the message.

    Raises:
        TypeError: it is something else than text or a path.
    """
    if isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str):
        return Path(value)
    raise TypeError(f"{argument}: expected a path, as a str or a pathlib.Path, got {type(value).__name__}")


def write_atomically(file: Path, data: bytes) -> None:
    """Puts ``data`` where ``file`` is, at once.

    Raises:
        OSError: the disk is full or the folder cannot be written; an earlier file is still there.
    """
    if file.exists() and not file.is_file():  # a device or a pipe, which is not to be replaced
        with named_errors(file), open(file, "wb") as stream:
            stream.write(data)
        return
    part = _begin(file)
    try:
        _write(part, data)
        os.replace(part, file)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def write_folder_atomically(folder: Path, files: dict[str, bytes]) -> None:
    """Makes ``folder`` appear with all its files at once; it must not exist yet.

    Raises:
        OSError: as for :func:`write_atomically`; nothing is left behind.
    """
    part = _begin(folder)
    try:
        part.mkdir()
        for name, data in files.items():
            _write(part / name, data)
        sync_folder(part)
        os.rename(part, folder)
    except BaseException:
        _remove_tree(part)
        raise
    sync_folder(folder.parent)


def remove_leftovers(path: Path) -> None:
    """Removes what writers of a file or folder left when they were killed; those that are at work keep theirs."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        writer = left.name.removesuffix(".partial").rpartition(".")[2].partition("-")[0]
        if writer.isdecimal() and not _runs(int(writer)):
            _remove(left)


def _begin(path: Path) -> Path:
    """What ``path`` is called until it is complete: by a name that no other thread of any process has."""
    remove_leftovers(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.partial")
    _remove(part)  # of an earlier process of this number
    return part


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        _remove_tree(path)
    else:
        with suppress(OSError):  # the next writer tries again
            path.unlink(missing_ok=True)


def _remove_tree(folder: Path, ignore_errors: bool = True) -> None:
    import shutil  # loads what unpacks archives, half a megabyte; a board has no folders to remove

    shutil.rmtree(folder, ignore_errors=ignore_errors)


def remove_folder(folder: Path) -> None:
    """Removes a folder; one that is half removed no longer has its name."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name.strip('.').removesuffix('.gone')}.gone")
        if folder != gone:
            _remove_tree(gone)
            os.rename(folder, gone)
        _remove_tree(gone, ignore_errors=False)


@contextmanager
def named_errors(file: Path) -> Iterator[None]:
    """Python names no file when it is the writing that fails; inside, such errors are of ``file``."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(file)) from error


def _write(file: Path, data: bytes) -> None:
    with named_errors(file), open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(file: Path, what: str) -> Path:
    """``file``, if it can be written; ``what`` names it in messages.

    Raises:
        OSError: there is no such folder, it cannot be written to, or ``file`` is a folder.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{what}: {file} is a folder; expected a file")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{what}: there is no folder {file.parent}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f"{what}: {file} cannot be written")
    return file


def check_apart(file: Path, what: str, others: Iterable[Path]) -> None:
    """Raises ValueError if ``file``, which is going to be written, is one of ``others``; ``what`` names it."""
    for other in others:
        if file.resolve() == other.resolve():
            raise ValueError(f"{what}: {file} would replace a file that is still needed; write to another one")
