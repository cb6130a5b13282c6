"""What tests of the command line share."""

from __future__ import annotations

import re

SMALL = ("--input-size", "32", "--classes", "10")
BOXES = re.compile("[\u2500-\u257f]")
