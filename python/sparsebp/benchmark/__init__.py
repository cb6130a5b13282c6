"""Measuring training steps: what ``sparsebp bench`` and the scripts in bench/ are made of."""
