"""A recipe names one training run completely, so that it can be repeated and found again."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import DATA, load_data
from landscape_fast.training.losses import LOSSES
from landscape_fast.training.models import MODELS, build_model
from landscape_fast.training.randomness import derived_seed, seeded
from landscape_fast.training.resolve import check_name, check_options, nearest
from landscape_fast.training.schedule import Schedule, lr_factor

try:
    from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
except ImportError as error:
    raise ImportError("recipes need pydantic: pip install 'landscape_fast[study]'") from error

_SCHEMA = 1  # raise it when the same fields come to mean another run
_LOCATION = ("root", "download")  # options of built-in data: where the files are, not what
_REFERENCE_BATCH = 128  # at which linear scaling leaves the learning rate as it is

# Fields that came after the schema was fixed. At its default each means what was done without it
# and is left out of the identifier, so that results stored before are found again.
_LATER = (
    *("pixel_noise", "pixel_noise_wraps", "linear_lr_scaling", "schedule"),
    *("channels_last", "autocast", "optimizer"),
)
_USED_BY = {"lr_decay": ("decay", "three_step"), "lr_decay_at": ("decay",)}  # schedules


class Recipe(BaseModel):
    """Everything that decides a training run; defaults are those of Yang et al. (2021), setting B.

    ``model``, ``data`` and ``loss`` take a built-in name or ``package.module:callable``. Recipes
    are frozen, and equal ones have equal :attr:`id` on every machine. Setting A of that paper is
    ``schedule="constant", lr=0.05, epochs=150, checkpoint="early_stopped"``.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) A field is unknown or out of range; the message
            names the field and the value.

    References:
        Yang et al. (2021), arXiv:2107.11228: SGD with momentum. linear_lr_scaling: Goyal et al.
        (2017), arXiv:1706.02677. adam: Kingma and Ba (2015), arXiv:1412.6980; adamw: Loshchilov
        and Hutter (2019), arXiv:1711.05101.

    Example:
        >>> recipe = Recipe(model="small_cnn", data="digits", width=4, batch_size=32, epochs=8)
        >>> recipe.learning_rate(5), round(recipe.learning_rate(6), 6)
        (0.1, 0.01)
        >>> recipe.id == Recipe(epochs=8, batch_size=32, width=4, data="digits",
        ...                     model="small_cnn").id
        True
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    model: str
    model_options: dict[str, JsonValue] = {}
    width: int | None = Field(default=None, ge=1)  # None: the callable's own default
    data: str
    data_options: dict[str, JsonValue] = {}
    fraction: float = Field(default=1.0, gt=0.0, le=1.0)  # of the training samples, the first ones
    label_noise: float = Field(default=0.0, ge=0.0, le=1.0)  # probability that a label is redrawn
    pixel_noise: float = Field(default=0.0, ge=0.0, le=255.0)  # largest, white is 255
    pixel_noise_wraps: bool = False  # above 255, as in the authors' code; else cut to 255
    loss: str = "cross_entropy"
    batch_size: int = Field(default=128, ge=1)
    drop_last: bool = True  # skip the incomplete last batch of an epoch
    epochs: int = Field(default=100, ge=1)
    lr: float = Field(default=0.1, gt=0.0)
    linear_lr_scaling: bool = False  # lr is meant for batches of 128: times batch_size / 128
    schedule: Schedule = "decay"
    lr_decay: float = Field(default=0.1, gt=0.0, le=1.0)  # factor; 1 keeps lr constant
    lr_decay_at: float = Field(default=0.75, ge=0.0, le=1.0)  # share of the epochs done before
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # weight decay of adamw is decoupled
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)  # of Adam its beta_1; beta_2 is 0.999
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0.0)  # of all parameters, BatchNorm's and biases
    seed: int = Field(default=0, ge=0)  # of initial weights, sample order and random layers
    checkpoint: Literal["lowest_loss", "early_stopped", "last"] = "lowest_loss"  # epoch to keep
    dtype: Literal["float32", "float64"] = "float32"
    channels_last: bool = False  # memory format of images while training
    autocast: Literal["none", "bfloat16"] = "none"  # of the forward pass while training

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        for key in fields:
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}{nearest(str(key), cls.model_fields)}")
        # A default that is spelled out and one that is left out are the same run.
        if fields.get("width") is None and fields.get("model") in MODELS:
            default = inspect.signature(MODELS[fields["model"]]).parameters["width"].default
            return {**fields, "width": default}
        return fields

    @field_validator("model", "data", "loss")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        known: dict[str, Mapping[str, Any]] = {"model": MODELS, "data": DATA, "loss": LOSSES}
        check_name(name, known[info.field_name], argument=info.field_name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov is true, which needs momentum above 0, got 0.0")
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError(f"nesterov is true, which optimizer {self.optimizer!r} ignores")
        for field, schedules in _USED_BY.items():
            value = getattr(self, field)
            if self.schedule not in schedules and value != type(self).model_fields[field].default:
                raise ValueError(f"{field} is {value}, which schedule {self.schedule!r} ignores")
        if self.pixel_noise_wraps and self.pixel_noise == 0.0:
            raise ValueError("pixel_noise_wraps is true, which needs pixel_noise above 0, got 0.0")
        if self.autocast != "none" and self.dtype != "float32":
            raise ValueError(f"autocast {self.autocast!r} needs dtype 'float32', got 'float64'")
        if self.data in DATA:
            check_options(DATA[self.data], self.data_options, argument="data_options")
        if self.model in MODELS:
            check_options(MODELS[self.model], self.model_options, argument="model_options")
        return self

    def __hash__(self) -> int:
        """Consistent with equality, which the options' dictionaries would forbid."""
        return hash(self.id)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that stand for the content.

        They depend on every field and on nothing else: not on the order in which fields were given,
        not on the version of Python. Where the built-in data sets lie on disk
        (``data_options["root"]``) is not content.
        """
        content = self.model_dump(mode="json")
        for field in _LATER:
            if content[field] == type(self).model_fields[field].default:
                del content[field]
        if self.data in DATA:
            for option in _LOCATION:
                content["data_options"].pop(option, None)
        text = json.dumps(
            {"schema": _SCHEMA, **content}, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """A readable file name, unique by :attr:`id`."""
        model, data = (re.sub(r"\W+", "-", name.split(":")[-1]) for name in (self.model, self.data))
        width = "" if self.width is None else f"-w{self.width}"
        return f"{model}{width}-{data}-b{self.batch_size}-s{self.seed}-{self.id}"

    def learning_rate(self, epoch: float) -> float:
        """Learning rate when ``epoch`` epochs, and possibly a part of the next one, are done."""
        scale = self.batch_size / _REFERENCE_BATCH if self.linear_lr_scaling else 1.0
        decay, decay_at = self.lr_decay, self.lr_decay_at
        factor = lr_factor(self.schedule, epoch, self.epochs, decay=decay, decay_at=decay_at)
        return self.lr * scale * factor

    def load_dataset(self, whole: Dataset | None = None) -> Dataset:
        """Return the data of the run: the first part of the whole set, with its noise.

        Noise is that of the whole set, so a smaller ``fraction`` holds a part of the same samples.

        Args:
            whole: The whole, clean data set, where it is loaded already and shared between runs; by
                default what ``data`` names is loaded.
        """
        whole = load_data(self.data, self.data_options) if whole is None else whole
        part = whole.with_label_noise(self.label_noise).first(self.fraction)
        return part.with_pixel_noise(self.pixel_noise, wraps=self.pixel_noise_wraps)

    def build_model(self, dataset: Dataset) -> nn.Module:
        """Return the network with its initial weights, in ``dtype``, on the CPU.

        Weights are drawn in float32 from :attr:`seed` alone, so they are the same on every device
        and, but for rounding, in every ``dtype``. The caller's random state is not used.
        """
        default = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.float32)
            cpu = torch.device("cpu")
            with seeded(derived_seed(self.seed, "weights"), cpu), cpu:
                model = build_model(
                    self.model,
                    width=self.width,
                    classes=dataset.classes,
                    channels=dataset.channels,
                    input_shape=tuple(dataset.train_inputs.shape[1:]),
                    options=self.model_options,
                )
        finally:
            torch.set_default_dtype(default)
        return model.to(getattr(torch, self.dtype))
