"""The options of ``finetune`` that a recipe answers where they are not given, and those on which epoch a run ends with.

None stands for what is not given.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..data.augment import AUGMENTATIONS, parse_augment
from ..finetuning.balance import BALANCES
from ..finetuning.cache import CHOICES
from ..finetuning.settings import KEEPS
from ..planning.request import SAVED_BITS, check_saved_bits
from ..training.schedule import SCHEDULES
from .numbers import whole
from .options import MEMORY, MODEL, OUTPUT, TRAINING, check_share, checked, parse_input_size
from .training_options import DATA, check_rate, one_of

_CHOSEN = "[default: chosen to suit the pictures]"


def _option(name: str, metavar: str, text: str, panel: str, **rest: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel, **rest)


InputSize = Annotated[
    str | None,
    _option(
        "--input-size",
        "SIZE",
        f"Pixels of the network's input: 224, or height x width such as 128x160. {_CHOSEN}",
        MODEL,
        callback=checked(parse_input_size),
    ),
]
Augment = Annotated[
    str | None,
    _option(
        "--augment",
        "NAMES",
        f"Random changes of training pictures, with commas between: {', '.join(AUGMENTATIONS)}; or none. {_CHOSEN}",
        DATA,
        callback=checked(parse_augment),
    ),
]
Epochs = Annotated[
    int | None,
    _option("--epochs", "N", f"Passes over the training pictures. {_CHOSEN}", TRAINING, parser=whole(1)),
]
Rate = Annotated[
    float | None,
    _option(
        "--lr",
        "RATE",
        "Learning rate, for a whole batch. [default: chosen to suit the weights that a step trains; with --no-recipe "
        "0.0003 at 2 % and less for more; with --no-normalise 0.0075]",
        TRAINING,
        callback=checked(check_rate),
    ),
]
MaxUpdateRatio = Annotated[
    float | None,
    _option(
        "--max-update-ratio",
        "SHARE",
        "Largest share of the convolution weights that one step may touch. [default: as many as the budget holds; 0.02 "
        "on a GPU, with several processes, with a rate, a sampler or layers of your choice, and with --no-recipe]",
        MEMORY,
        callback=checked(check_share),
    ),
]
SavedBits = Annotated[
    int | None,
    _option(
        "--saved-bits",
        "|".join(map(str, SAVED_BITS)),
        "8 lets blocks keep their input in 8 bits for the backward pass, which saves bytes and takes time. [default: 8 "
        "where a step trains as many weights as the budget holds, else 32]",
        MEMORY,
        callback=checked(check_saved_bits),
    ),
]
BatchSize = Annotated[
    int | None,
    _option(
        "--batch-size",
        "N",
        "Pictures from one draw of the channels to the next. [default: 16]",
        TRAINING,
        parser=whole(1),
    ),
]
SkipAbove = Annotated[
    float | None,
    _option(
        "--skip-above",
        "P",
        "No backward pass for pictures whose class has a probability above P already; with --micro-batch above 1, "
        "for those that go through together if all have. [default: 0.9, with --label-smoothing 1]",
        TRAINING,
        callback=checked(check_share),
    ),
]
Rest = Annotated[
    int | None,
    _option(
        "--rest",
        "N",
        "Leave pictures that --skip-above finds learned out of the next N epochs altogether. [default: 1 where "
        "10,000 pictures or more are shown 6 times or more; 0 with several processes, with --gradients sum, where no "
        "picture counts as learned, and with --no-recipe]",
        TRAINING,
        parser=whole(0),
    ),
]
Balance = Annotated[
    str | None,
    _option(
        "--balance",
        "|".join(BALANCES),
        "Where classes differ in size: the loss has small ones win by a margin, or their pictures come several times "
        "an epoch. [default: loss, if one is more than twice as large as another]",
        TRAINING,
        callback=one_of(BALANCES),
    ),
]
Keep = Annotated[
    str,
    _option(
        "--keep",
        "|".join(KEEPS),
        "The epoch whose weights the run ends with. The best is the one of the highest test accuracy, or balanced "
        "accuracy with --balance, and looks a little better than it is.",
        TRAINING,
        callback=one_of(KEEPS),
    ),
]
Patience = Annotated[
    int | None,
    _option(
        "--patience",
        "N",
        "End after N epochs without a better one, as --keep best judges. [default: train all]",
        TRAINING,
        parser=whole(1),
    ),
]
Average = Annotated[
    int | None,
    _option(
        "--average",
        "N",
        "End with the mean of the weights after the last N epochs. [default: 1; five eighths of the epochs with the "
        "constant schedule that is chosen for long runs]",
        TRAINING,
        parser=whole(1),
    ),
]
Schedule = Annotated[
    str | None,
    _option(
        "--schedule",
        "|".join(SCHEDULES),
        "How the rate falls. [default: cosine; constant where 10,000 pictures or more are shown 6 times or more, a "
        "step trains as many weights as the budget holds, and neither few --epochs nor anything else says how the run "
        "ends]",
        TRAINING,
        callback=one_of(SCHEDULES),
    ),
]
NoRecipe = Annotated[
    bool,
    _option("--no-recipe", "", "Choose nothing: what is not given has a plain default, whatever the pictures.", OUTPUT),
]
Cache = Annotated[
    str | None,
    _option(
        "--cache",
        "|".join(CHOICES),
        "Keep what the frozen layers make of each picture, so that they run once. With --augment "
        "flip,slide,erase at most. "
        "[default: auto, on the disk if there is plenty of room]",
        OUTPUT,
        callback=one_of(CHOICES),
    ),
]
