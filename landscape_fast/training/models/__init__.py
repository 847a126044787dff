"""The networks of the study, each of a chosen width."""

from landscape_fast.training.models.plain import mlp, small_cnn, vgg11, vgg11_bn
from landscape_fast.training.models.registry import MODELS, build_model
from landscape_fast.training.models.resnet import resnet18, resnet34, resnet50
from landscape_fast.training.models.vit import vit

__all__ = [
    "MODELS",
    "build_model",
    "mlp",
    "resnet18",
    "resnet34",
    "resnet50",
    "small_cnn",
    "vgg11",
    "vgg11_bn",
    "vit",
]
