"""The command line tool: ``sparsebp finetune | plan | evaluate | bench | info``."""

from .app import main

__all__ = ["main"]
