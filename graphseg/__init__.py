"""Segmentation of surface contamination in atomic-resolution micrographs of graphene."""

__version__ = "0.1.0"
