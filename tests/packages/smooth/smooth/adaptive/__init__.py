"""Filters that weigh a reading by how much it is to be trusted."""

from .kalman import Kalman

__all__ = ("Kalman",)
