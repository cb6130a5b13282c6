"""``python -m sparsebp_runtime`` is the command."""

from .runtime.command import main

main()
