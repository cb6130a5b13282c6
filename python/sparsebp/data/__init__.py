"""From a path to pictures to batches for fine-tuning.

``open_dataset`` finds out what lies at a path, ``Preprocess`` says what the network wants, ``Loader`` reads in worker
processes.
"""

from .augment import parse_augment
from .dataset import DEFAULT_TEST_SHARE, Dataset, open_dataset
from .decode import BrokenPicture
from .loader import Batch, Loader
from .preprocess import Preprocess
from .sources import Arrays, Encoded, Files, Source, Subset

__all__ = [
    "DEFAULT_TEST_SHARE",
    "Arrays",
    "Batch",
    "BrokenPicture",
    "Dataset",
    "Encoded",
    "Files",
    "Loader",
    "Preprocess",
    "Source",
    "Subset",
    "open_dataset",
    "parse_augment",
]
