"""Publishes MicroPython packages as an index: `mip-index`, and its commands as functions."""

from .builder import build
from .checker import check
from .cli import main
from .device import PublishError
from .mirroring import mirror
from .serving import serve

__all__ = ["PublishError", "build", "check", "main", "mirror", "serve"]
