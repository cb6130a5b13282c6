"""Networks that do not run wholly natively, and what stands in the way: kinds of ops that a plan or a refusal names.

One that starts to convert, or of which more is native, makes a test fail until it is taken out here.
"""

from __future__ import annotations

REFUSED: dict[str, str] = {}
