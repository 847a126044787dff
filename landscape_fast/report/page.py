"""From a study's folder to its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from landscape_fast.clock import timestamp
from landscape_fast.plots import curve_profiles, single_figures, spectra
from landscape_fast.plots.curves import has_profiles
from landscape_fast.plots.phases import COLOURS, MEANING
from landscape_fast.provenance import package_version
from landscape_fast.report import tables
from landscape_fast.report.folder import Folder, read_folder
from landscape_fast.report.images import Picture, picture
from landscape_fast.store import write_atomically
from landscape_fast.training.models.registry import width_in_words

_CAPTIONS = {
    "phases": "The phase of every cell. Lines run where the deciding quantity crosses its "
    "threshold, interpolated between cells.",
    "slices": "Test accuracy and sharpness along one knob at fixed values of the other. Bars: "
    "standard deviation between runs.",
    "curves": "Every pair of models of every cell, on one scale; the key enlarges one cell.",
    "spectra": "Spectral density of one model of every cell, on one scale.",
}
_WIDE = frozenset(_CAPTIONS)


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of a finished study.

    Args:
        folder: Of the study, as ``landscape-fast study`` leaves it.
        output: The HTML file; by default ``report.html`` in the folder.

    Returns:
        The file: UTF-8, well-formed, with all pictures inside and no reference to anything else.

    Raises:
        FileNotFoundError: ``folder`` holds no finished study.
        ValueError: Its study file is not one.
        StoreWriteError: The file cannot be written.
    """
    found = read_folder(folder)
    output = folder / "report.html" if output is None else output
    write_atomically(output, _page(found).encode())
    return output


def _page(folder: Folder) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = folder.study
    return environment.get_template("page.html.j2").render(
        study=study,
        study_text=folder.study_text,
        counts=folder.summary["counts"],
        thresholds=folder.summary["thresholds"],
        bootstrap=folder.summary.get("bootstrap"),
        runs_of_the_study=folder.summary.get("runs", []),
        computed_again=folder.summary.get("computed_again", []),
        colours=COLOURS,
        meaning=MEANING,
        pictures=_pictures(folder),
        findings=tables.findings(folder),
        cells=tables.cells(folder),
        probabilities=tables.probabilities(folder),
        failures=tables.failures(folder),
        not_converged=tables.not_converged(folder),
        recipe=tables.recipe(folder),
        cost=tables.cost(folder),
        versions=tables.versions(folder),
        everything={
            name: tables.whole(columns)
            for name, columns in (
                ("cells", folder.cells),
                ("runs", folder.runs),
                ("pairs", folder.pairs),
            )
            if columns
        },
        results=len(folder.stored),
        written=timestamp(),
        package=package_version(),
        grid=_grid_in_words(folder),
    )


def _pictures(folder: Folder) -> list[Picture]:
    load, temperature = folder.study.grid.knobs
    shared: dict[str, Any] = {
        "load": load,
        "temperature": temperature,
        "hot": folder.study.plot.hot,
        "labels": {"width": width_in_words(folder.study.model)},
    }
    figures = single_figures(folder.cells, **shared, scales=folder.study.plot.scales)
    if has_profiles(folder.pairs):
        figures["curves"] = curve_profiles(folder.cells, folder.pairs, **shared)
    if folder.densities:
        figures["spectra"] = spectra(folder.cells, folder.densities, **shared)
    # Those that take the whole width come last, but for the map.
    order = sorted(figures, key=lambda name: (name != "phases", name in _WIDE))
    return [
        picture(name, figures[name], _CAPTIONS.get(name, ""), wide=name in _WIDE) for name in order
    ]


def _grid_in_words(folder: Folder) -> str:
    cells = len(next(iter(folder.cells.values())))
    models = len(next(iter(folder.runs.values())))
    load, temperature = (knob.replace("_", " ") for knob in folder.study.grid.knobs)
    return f"{load} by {temperature}: {cells} cells, {models} models"
