"""The version: of both packages, the native module, the C library and the wheels. It is written nowhere else."""

__version__ = "0.2.0"
