"""Sections of a study file that say how to measure, classify and draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from landscape_fast.training.resolve import nearest

Threshold = float | Literal["data"]
MOST_REPEATS = 5  # curves of a pair
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


class DensityOptions(Section):
    """Spectral density of the Hessian over the first training samples."""

    samples: int | None = Field(default=1000, ge=1)  # None: all of them
    batch_size: int = Field(default=128, ge=1)
    starts: int = Field(default=5, ge=1)
    steps: int = Field(default=60, ge=1)
    seed: Seed = 0


class ConnectivityOptions(Section):
    """Mode connectivity; defaults of Yang et al. (2021) but for the bend and the pairs."""

    epochs: int = Field(default=50, ge=0)
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=128, ge=1)
    points: int = Field(default=5, ge=3)
    bend: Literal["linear", "random", "released"] = "linear"
    pairs: Literal["all", "first"] = "all"  # of a cell
    repeats: int = Field(default=1, ge=1, le=MOST_REPEATS)  # curves of a pair, of different seeds
    # Points by which a curve of twice the epochs may differ; a pair that exceeds it, or has no
    # number, did not converge. None: not asked.
    settled_within: float | None = Field(default=None, gt=0)
    seed: Seed = 0


class LineOptions(Section):
    """Barriers on the straight line; Frankle et al. (2020) take 30 points."""

    points: int = Field(default=11, ge=3)
    recalibrate: bool = True
    batch_size: int = Field(default=128, ge=1)
    seed: Seed = 0


class AgreementOptions(Section):
    """Disagreement and divergence of predictions, on one part of the data."""

    part: Literal["train", "test"] = "test"


class CkaOptions(Section):
    """Similarity of outputs on interpolated training inputs."""

    outputs: tuple[Literal["softmax", "logits"], ...] = ("softmax", "logits")
    mixup_alpha: float | None = Field(default=16.0, gt=0)
    samples: int = Field(default=640, ge=2)
    batch_size: int = Field(default=128, ge=2)
    debiased: bool = True
    seed: Seed = 0


#: What ``protocol: yang2021`` decides; other options of these sections are free: seeds, the bend.
YANG2021: Mapping[str, Mapping[str, Any]] = {
    "hessian": {
        "samples": 200,
        "batch_size": 200,
        "k": 1,
        "tol": 1e-3,
        "rtol": 1e-3,
        "max_products": 100,
    },
    "connectivity": {
        "epochs": 50,  # of the whole training set
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch_size": 128,
        "points": 5,
        "pairs": "first",
        "repeats": 1,
        "settled_within": None,
    },
    "cka": {"mixup_alpha": 16.0, "samples": 768, "batch_size": 128, "debiased": False},
    "agreement": {"part": "train"},
}


class Measure(Section):
    """What is measured; ``null`` leaves a measurement out.

    ``protocol: yang2021`` decides the options that :data:`YANG2021` lists. Its Hessian is that of
    a random mini-batch of each run, with the rules of :mod:`landscape_fast.metrics.yang2021`; it
    trains 50 / fraction epochs of one curve per cell and averages CKA over both orders of a pair.
    """

    protocol: Literal["certified", "yang2021"] = "certified"
    hessian: HessianOptions | None = HessianOptions()
    density: DensityOptions | None = None  # of every model
    connectivity: ConnectivityOptions | None = ConnectivityOptions()
    cka: CkaOptions | None = CkaOptions()
    line: LineOptions | None = LineOptions()
    agreement: AgreementOptions | None = AgreementOptions()
    ensemble: bool = True  # accuracy of the averaged probabilities of a cell's models

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or content.get("protocol") != "yang2021":
            return content
        resolved = dict(content)
        for section, decided in YANG2021.items():
            given = content.get(section, {})
            if isinstance(given, Section):
                given = given.model_dump(exclude_unset=True)
            if not isinstance(given, Mapping):  # null leaves it out; anything else is refused later
                continue
            for option, value in given.items():
                if option in decided and value != decided[option]:
                    raise ValueError(
                        f"measure.{section}.{option}: {value!r} contradicts measure.protocol "
                        f"'yang2021', which takes {decided[option]!r}; leave one of them out"
                    )
            usual = {"bend": "released"} if section == "connectivity" else {}
            resolved[section] = {**usual, **given, **decided}
        if "line" not in content:
            resolved["line"] = None  # cited in the paper, not measured
        return resolved


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
