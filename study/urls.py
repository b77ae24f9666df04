"""`masked`, under the name that the study's modules know; reports show URLs too, and import nothing from here."""

from reports.urls import MASK, masked

__all__ = ["MASK", "masked"]
