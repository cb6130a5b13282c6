"""From a path to pictures to batches for fine-tuning.

``open_dataset`` finds out what lies at a path, ``Preprocess`` says what the network wants, ``Loader`` reads in worker
processes.
"""

from .augment import parse_augment
from .combined import Subset
from .dataset import DEFAULT_TEST_SHARE, Dataset
from .decode import BrokenPicture
from .levels import Levels
from .loader import Batch, Loader
from .opening import open_dataset, open_tests
from .preprocess import Preprocess
from .sources import Arrays, Encoded, Files, Source

__all__ = [
    "DEFAULT_TEST_SHARE",
    "Arrays",
    "Batch",
    "BrokenPicture",
    "Dataset",
    "Encoded",
    "Files",
    "Levels",
    "Loader",
    "Preprocess",
    "Source",
    "Subset",
    "open_dataset",
    "open_tests",
    "parse_augment",
]
