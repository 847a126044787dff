"""Readers of the standard files of image data sets."""

from landscape_fast.training.readers.cifar import read_cifar10, read_cifar100
from landscape_fast.training.readers.folders import read_folders
from landscape_fast.training.readers.images import Images
from landscape_fast.training.readers.mnist import read_mnist
from landscape_fast.training.readers.svhn import read_svhn

__all__ = ["Images", "read_cifar10", "read_cifar100", "read_folders", "read_mnist", "read_svhn"]
