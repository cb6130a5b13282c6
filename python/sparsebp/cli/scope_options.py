"""Options of what a budget covers, and of what of a network is planned, for every command that plans."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from ..planning.choice import SCOPES
from ..planning.request import (
    ACTIVATION_BITS,
    PICTURES,
    SAVED_BITS,
    check_activation_bits,
    check_name,
    check_saved_bits,
)
from .options import MEMORY, MODEL, checked

Scope = Annotated[
    str,
    typer.Option(
        "--scope",
        metavar="|".join(SCOPES),
        help="What the budget covers: what training needs beyond inference, or all that a step needs but the weights.",
        callback=checked(partial(check_name, "scope", names=SCOPES)),
        rich_help_panel=MEMORY,
    ),
]
Pictures = Annotated[
    str,
    typer.Option(
        "--pictures",
        metavar="|".join(PICTURES),
        help="With --scope step: whether the budget has room for the pictures of a micro-batch, as bytes.",
        callback=checked(partial(check_name, "pictures", names=PICTURES)),
        rich_help_panel=MEMORY,
    ),
]
SavedBits = Annotated[
    int,
    typer.Option(
        "--saved-bits",
        metavar="|".join(map(str, SAVED_BITS)),
        help="8 lets blocks keep their input in 8 bits for the backward pass, which saves bytes and takes time.",
        callback=checked(check_saved_bits),
        rich_help_panel=MEMORY,
    ),
]
ActivationBits = Annotated[
    int | None,
    typer.Option(
        "--activation-bits",
        metavar=f"{ACTIVATION_BITS[0]}..{ACTIVATION_BITS[1]}",
        help="Keep the derivatives of SiLU, GELU and other curves in so few bits, to save bytes. [default: exact]",
        callback=checked(check_activation_bits),
        rich_help_panel=MEMORY,
    ),
]
NoAux = Annotated[
    bool,
    typer.Option(
        "--no-aux",
        metavar="",
        help="Leave out what the network adds in training mode only, such as auxiliary heads.",
        rich_help_panel=MODEL,
    ),
]
