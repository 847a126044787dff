"""Readers of the standard files of image data sets."""

from landscape_fast.training.readers.cifar import read_cifar10
from landscape_fast.training.readers.images import Images

__all__ = ["Images", "read_cifar10"]
