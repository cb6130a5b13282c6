"""Measuring training steps and inference: what ``sparsebp bench`` and the scripts in bench/ are made of."""
