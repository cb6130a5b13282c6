"""What is raised of a picture that cannot be read."""

from __future__ import annotations


class BrokenPicture(ValueError):  # noqa: N818 - it names what there is, not what went wrong in the program
    """A picture that cannot be read.

    Attributes:
        name: the file, or its place in an archive such as ``cifar10_train.npz[17]``.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # what pickle hands to the copy in another process
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"
