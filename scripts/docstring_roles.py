"""An extension of Griffe, by which the site reads docstrings: the roles in them become code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":[a-z]+:`[~.]?([^`]+)`")


class Roles(griffe.Extension):
    """``:func:`sparsebp.plan``` is Sphinx's way to say `sparsebp.plan`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
