"""``python -m sparsebp.runtime`` is the command for boards."""

from .command import main

main()
