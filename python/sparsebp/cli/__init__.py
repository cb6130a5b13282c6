"""The command line tool: ``sparsebp finetune | plan | evaluate | predict | bench | info``."""

from .app import main

__all__ = ["main"]
