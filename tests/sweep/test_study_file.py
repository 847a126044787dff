"""Every mistake in a study file is named with its place; a good file gives the right recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from landscape_fast.sweep.study_file import read_study, sizes_of, study_text
from landscape_fast.training.recipe import Recipe

GOOD = """
name: good
model: small_cnn
data: digits
grid:
  load: {knob: width, values: [1, 2]}
  temperature: {knob: batch_size, values: [8, 32]}
  seeds: [0, 1]
training: {epochs: 2, lr: 0.1}
measure:
  hessian: {samples: 100}
  cka: null
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_a_good_file_gives_its_recipes(tmp_path):
    study = read_study(written(tmp_path, GOOD))
    assert study.recipe(2, 8, 1) == Recipe(
        model="small_cnn", data="digits", width=2, batch_size=8, seed=1, epochs=2, lr=0.1
    )
    assert study.measure.hessian.samples == 100
    assert study.measure.cka is None
    assert study.measure.connectivity.epochs == 50


MISTAKES = {
    "misspelt section": (
        "training:",
        "trainings:",
        "unknown key 'trainings'; did you mean 'training'",
    ),
    "misspelt option": (
        "samples: 100",
        "samplez: 100",
        "measure.hessian: unknown key 'samplez'; did you mean 'samples'?",
    ),
    "misspelt recipe field": (
        "epochs: 2",
        "epohcs: 2",
        "training: unknown key 'epohcs'; did you mean 'epochs'?",
    ),
    "option out of range": (
        "samples: 100",
        "samples: 0",
        "measure.hessian.samples: Input should be greater than or equal to 1, got 0",
    ),
    "more samples than there are": (
        "cka: null",
        "cka: {samples: 1439}",
        "measure.cka.samples: 1439 exceed the 1438 training samples of 'digits'",
    ),
    "recipe field out of range": ("lr: 0.1", "lr: -1", "training.lr: .*greater than 0, got -1"),
    "knob out of range": ("values: [1, 2]", "values: [1, 0]", "grid.load.values: .*got 0"),
    "knob of the wrong type": ("[8, 32]", "[8, 1.5]", "grid.temperature.values: .*got 1.5"),
    "text for a number": (
        "[1, 2]",
        "[1, wide]",
        "grid.load.values.1: must be a number, got 'wide'",
    ),
    "a value twice": ("[1, 2]", "[2, 2]", "grid.load.values: 2 appears twice"),
    "no values": ("values: [1, 2]", "values: []", "grid.load.values must list at least one"),
    "a negative seed": ("seeds: [0, 1]", "seeds: [-1]", "grid.seeds.0: .*got -1"),
    "no seeds": ("  seeds: [0, 1]\n", "", "grid.seeds must list at least one"),
    "unknown knob": (
        "knob: width",
        "knob: wdth",
        "grid.load.knob must be a field of the training recipe, got 'wdth'; did you mean 'width'?",
    ),
    "one knob for both": ("knob: width", "knob: batch_size", "load and temperature are the same"),
    "a knob in training": ("lr: 0.1", "width: 4", "training.width is decided by the grid"),
    "a seed in training": ("lr: 0.1", "seed: 4", "training.seed is decided by grid.seeds"),
    "a model in training": ("lr: 0.1", "model: x", "training.model is decided by model at the top"),
    "unknown model": ("small_cnn", "smal_cnn", "model must be one of .*did you mean 'small_cnn'?"),
    "unknown option of data": (
        "data: digits",
        "data: digits\ndata_options: {sed: 1}",
        "data_options do not fit digits.*did you mean 'seed'",
    ),
    "key twice": ("lr: 0.1", "lr: 0.1, lr: 0.2", "line 9: key 'lr' appears twice"),
    "no YAML": ("name: good", "name: [good", "is not valid YAML: line 3, column 6"),
    "a Python object": ("name: good", "name: !!python/object:os.system x", "is not valid YAML"),
    "a name that is no file name": ("name: good", "name: a/b", "name: .*got 'a/b'"),
    "missing section": ("data: digits\n", "", "data: Field required"),
}


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_named_with_file_path_and_remedy(tmp_path, old, new, message):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        read_study(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_samples_are_counted_in_the_smallest_part_of_the_data(tmp_path):
    asked = GOOD.replace("cka: null", "cka: {samples: 720}")
    assert read_study(written(tmp_path, asked)).measure.cka.samples == 720
    for half in (
        asked.replace("lr: 0.1", "lr: 0.1, fraction: 0.5"),
        asked.replace("knob: width, values: [1, 2]", "knob: fraction, values: [1.0, 0.5]"),
    ):
        with pytest.raises(ValueError, match="720 exceed the 719 training .* at fraction 0.5"):
            read_study(written(tmp_path, half))
    # What no file asks for is used in full.
    assert read_study(written(tmp_path, half.replace("samples: 720", ""))).measure.cka


def test_tokens_that_would_be_interpolated_are_refused_when_the_file_is_read(tmp_path):
    tokens = GOOD.replace("data: digits", "data: multi30k\ndata_options: {root: data}")
    with pytest.raises(ValueError, match=r"measure\.cka\.mixup_alpha: .* set it to null"):
        read_study(written(tmp_path, tokens.replace("cka: null", "cka: {}")))
    plain = tokens.replace("cka: null", "cka: {mixup_alpha: null}")
    assert read_study(written(tmp_path, plain)).measure.cka.mixup_alpha is None


@pytest.mark.parametrize("text", ["", "5", "- a\n- b"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="must hold keys and values"):
        read_study(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no study file .*none\.yaml"):
        read_study(tmp_path / "none.yaml")


FILES = (
    "[{path: a.pt, width: 1, batch_size: 8, seed: 0}, {path: b.pt, width: 1, batch_size: 8, %s}]"
)
UNGIVEN = GOOD.replace(", values: [1, 2]", "").replace(", values: [8, 32]", "")
UNGIVEN = UNGIVEN.replace("  seeds: [0, 1]\n", "")


def test_checkpoints_by_pattern_or_list_are_accepted(tmp_path):
    pattern = "runs/w{width}_b{batch_size}_s{seed:02d}.pt"
    assert read_study(written(tmp_path, f"{GOOD}checkpoints: {pattern}")).checkpoints == pattern
    study = read_study(written(tmp_path, f"{UNGIVEN}checkpoints: {FILES % 'seed: 1'}"))
    assert [file.knobs for file in study.checkpoints] == [{"width": 1, "batch_size": 8}] * 2


@pytest.mark.parametrize(
    ("base", "checkpoints", "message"),
    [
        (GOOD, "w{width}.pt", "checkpoints: the pattern must hold {width}, {batch_size}, {seed}"),
        (GOOD, "'w{width.pt'", "checkpoints: expected '}'"),
        (GOOD, FILES % "seed: 1", "values and seeds follow from the list"),
        (UNGIVEN, "[]", "checkpoints: the list is empty"),
        (UNGIVEN, FILES % "seed: 0", "two files have the same knobs and seed"),
        (UNGIVEN, FILES % "seed: 1, depth: 2", "checkpoints.1 must have the keys path, seed"),
        (UNGIVEN, (FILES % "seed: 1").replace("width: 1", "width: x"), "width: must be a number"),
    ],
)
def test_mistakes_in_checkpoints_are_named(tmp_path, base, checkpoints, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_study(written(tmp_path, f"{base}checkpoints: {checkpoints}"))


SIZED = f"""{GOOD}
sizes:
  preview: {{grid: {{load: {{values: [1]}}}}, measure: {{connectivity: null}}}}
  full: {{}}
"""


def test_a_size_is_laid_over_the_file_and_named(tmp_path):
    path = written(tmp_path, SIZED)
    assert sizes_of(path) == ("preview", "full")
    small, whole = read_study(path, "preview"), read_study(path, "full")
    assert (small.name, whole.name) == ("good-preview", "good-full")
    assert (small.grid.load.values, whole.grid.load.values) == ((1,), (1, 2))
    assert small.grid.temperature == whole.grid.temperature
    assert (small.measure.connectivity, small.measure.cka) == (None, None)
    assert small.measure.hessian == whole.measure.hessian


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        (SIZED, None, "comes in sizes preview, full; choose one with --size"),
        (SIZED, "ful", "has no size 'ful', it has preview, full; did you mean 'full'"),
        (GOOD, "full", "has no size 'full', it has none"),
        (SIZED.replace("full: {}", "full: 3"), "full", "sizes must map names to what they change"),
        (SIZED.replace("full: {}", "full: {modl: x}"), "full", "unknown key 'modl'.*'model'"),
    ],
)
def test_a_wrong_size_is_refused(tmp_path, text, size, message):
    with pytest.raises(ValueError, match=message):
        read_study(written(tmp_path, text), size)


def test_a_study_as_text_is_read_back_the_same(tmp_path):
    study = read_study(written(tmp_path, SIZED), "preview")
    assert read_study(written(tmp_path, study_text(study))) == study
    listed = read_study(written(tmp_path, f"{UNGIVEN}checkpoints: {FILES % 'seed: 1'}"))
    assert read_study(written(tmp_path, study_text(listed))) == listed


EXPERIMENTS = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.yaml"))


@pytest.mark.parametrize(
    ("file", "size"),
    [(file, size) for file in EXPERIMENTS for size in sizes_of(file) or (None,)],
    ids=lambda value: getattr(value, "stem", value),
)
def test_the_experiments_of_the_project_are_good_studies(file, size):
    study = read_study(file, size)
    assert study.name == file.stem + (f"-{size}" if size else "")


def test_every_experiment_that_repeats_the_paper_comes_small_and_whole():
    for file in EXPERIMENTS:
        if sizes_of(file):
            assert sizes_of(file) == ("preview", "full"), file
            assert read_study(file, "preview").paper, file
