"""Sections of a study file that say how to measure, classify and draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from landscape_fast.training.resolve import nearest

Threshold = float | Literal["data"]
Seed = Annotated[StrictInt, Field(ge=0)]


class Section(BaseModel):
    """Part of a study file: frozen, and without keys that nobody reads."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, content: Any) -> Any:
        if isinstance(content, Mapping):
            for key in content:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}{nearest(str(key), cls.model_fields)}")
        return content


class HessianOptions(Section):
    """Sharpness: top eigenvalues and trace over the first training samples."""

    samples: int | None = Field(default=None, ge=1)  # None: all of them
    batch_size: int = Field(default=128, ge=1)
    k: int = Field(default=1, ge=1)
    tol: float = Field(default=1e-3, gt=0)
    rtol: float = Field(default=0.01, gt=0)
    max_products: int = Field(default=1000, ge=1)
    seed: Seed = 0

    def of_top_eigs(self) -> dict[str, Any]:
        """The options on which the eigenvalues depend."""
        return self.model_dump(exclude={"rtol"})

    def of_trace(self) -> dict[str, Any]:
        """The options on which the trace depends."""
        return self.model_dump(exclude={"k", "tol"})


class ConnectivityOptions(Section):
    """Mode connectivity; defaults of Yang et al. (2021) but for the start of the bend."""

    epochs: int = Field(default=50, ge=0)
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=128, ge=1)
    points: int = Field(default=5, ge=3)
    bend: Literal["linear", "random"] = "linear"
    seed: Seed = 0


class CkaOptions(Section):
    """Similarity of outputs on interpolated training inputs."""

    outputs: tuple[Literal["softmax", "logits"], ...] = ("softmax", "logits")
    mixup_alpha: float | None = Field(default=16.0, gt=0)
    samples: int = Field(default=640, ge=2)
    batch_size: int = Field(default=128, ge=2)
    seed: Seed = 0


class Measure(Section):
    """What is measured; ``null`` leaves a measurement out."""

    hessian: HessianOptions | None = HessianOptions()
    connectivity: ConnectivityOptions | None = ConnectivityOptions()
    cka: CkaOptions | None = CkaOptions()


class Classify(Section):
    """Which quantities decide a phase, and where the boundaries lie."""

    sharpness: Literal["hessian_trace", "hessian_top_eig"] = "hessian_trace"
    similarity: Literal["cka_softmax", "cka_logits"] = "cka_softmax"
    sharpness_threshold: Threshold = 5.9  # of the natural logarithm
    connectivity_threshold: Threshold = -2.0  # percentage points of training error
    similarity_threshold: Threshold = 0.70
    replicates: int = Field(default=1000, ge=1)  # of the bootstrap over seeds
    seed: Seed = 0


class Plot(Section):
    """How the figures look."""

    hot: Literal["small", "large"] | None = None  # end of the temperature; None: by the knob
    scales: Literal["paper", "data"] = "paper"  # colour limits
    formats: tuple[str, ...] = ("png",)
    dpi: int = Field(default=110, ge=20)
