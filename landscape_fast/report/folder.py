"""What a study left in its folder, read back for its report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape_fast.results import SpectralDensity
from landscape_fast.store import Store
from landscape_fast.study.table import Columns, read_table
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.run import open_store
from landscape_fast.sweep.study_file import read_study
from landscape_fast.sweep.tasks import TRAIN

_VERSIONS = ("landscape_fast", "commit", "python", "torch", "numpy", "platform", "cuda_device")
_STAGES = ("train", "measure", "compare")


@dataclass(frozen=True, slots=True)
class Stored:
    """One result of the store, but for its arrays."""

    key: str
    name: str
    metric: str
    stage: str  # "train", "measure" (one model) or "compare" (several)
    seconds: float
    converged: bool
    models: list[dict[str, Any]]  # their recipes


@dataclass(frozen=True, slots=True)
class Folder:
    """A finished study."""

    study: Study
    study_text: str
    summary: dict[str, Any]
    cells: Columns  # with phases
    runs: Columns
    pairs: Columns  # empty without pairs of models
    stored: list[Stored]
    versions: dict[str, dict[str, int]]  # of each part, how many results were made with which
    densities: dict[tuple[Any, Any], SpectralDensity]  # of the first model of each cell

    @property
    def not_converged(self) -> list[Stored]:
        """Results that missed their tolerance."""
        return [each for each in self.stored if not each.converged]


def read_folder(path: Path) -> Folder:
    """Read the folder of a finished study.

    Raises:
        FileNotFoundError: It holds no finished study; the missing file is named.
        ValueError: Its study file is not one.
    """
    for needed in ("study.yaml", "summary.json", "phases.csv", "runs.csv"):
        if not (path / needed).is_file():
            raise FileNotFoundError(f"{path} holds no {needed}; run `landscape-fast study` first")
    study = read_study(path / "study.yaml")
    store = open_store(path)
    stored, versions = _stored(store)
    pairs = path / "pairs.csv"
    return Folder(
        study=study,
        study_text=(path / "study.yaml").read_text(),
        summary=json.loads((path / "summary.json").read_text()),
        cells=read_table(path / "phases.csv"),
        runs=read_table(path / "runs.csv"),
        pairs=read_table(pairs) if pairs.is_file() else {},
        stored=stored,
        versions=versions,
        densities=_densities(study, store, stored),
    )


def _stored(store: Store) -> tuple[list[Stored], dict[str, dict[str, int]]]:
    """All results, also those of options that the study no longer has."""
    addresses = list(store)
    stored = []
    versions: dict[str, Counter[str]] = {part: Counter() for part in _VERSIONS}
    headers = store.headers(addresses, arrays=False)
    for (key, name), header in zip(addresses, headers, strict=True):
        if header is None:
            continue
        made = header["provenance"]
        recipe = made.get("recipe") or {}
        metric, models = recipe.get("metric", ""), recipe.get("models", [])
        several = "measure" if len(models) == 1 else "compare"
        stored.append(
            Stored(
                key=key,
                name=name,
                metric=metric,
                stage=TRAIN if metric == TRAIN else several,
                seconds=float(made.get("seconds") or 0.0),
                converged=header["fields"].get("converged", True) is not False,
                models=models,
            )
        )
        for part in _VERSIONS:
            versions[part][str(made.get(part) or "none")] += 1
    stored.sort(key=lambda each: (_STAGES.index(each.stage), each.metric))
    return stored, {part: dict(counts.most_common()) for part, counts in versions.items()}


def _densities(
    study: Study, store: Store, stored: list[Stored]
) -> dict[tuple[Any, Any], SpectralDensity]:
    """Spectral densities by cell, where the study measured any and its knobs are of recipes."""
    load, temperature = study.grid.knobs
    found: dict[tuple[Any, Any], SpectralDensity] = {}
    for each in stored:
        if each.metric != "density" or not {load, temperature} <= set(each.models[0]):
            continue
        cell = each.models[0][load], each.models[0][temperature]
        density = None if cell in found else store.load(each.key, each.name)
        if density is not None:
            found[cell] = density
    return found
