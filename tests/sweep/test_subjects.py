from pathlib import Path

import blobs

from landscape_fast.sweep.config import Study
from landscape_fast.sweep.subjects import subjects_of


def keys(folder: Path, **training: float) -> list[str]:
    """Keys of checkpoints that exist already, under a study with these fields."""
    content = {**blobs.study(), "checkpoints": str(folder / "w{width}_b{batch_size}_s{seed}.pt")}
    study = Study.model_validate({**content, "training": {**content["training"], **training}})
    grid = study.grid
    for width in grid.load.values:
        for batch in grid.temperature.values:
            for seed in grid.seeds:
                (folder / f"w{width}_b{batch}_s{seed}.pt").write_bytes(b"weights")
    return [subject.key for subject in subjects_of(study, folder)]


def test_what_changes_the_data_changes_the_key_of_a_checkpoint(tmp_path):
    clean = keys(tmp_path)
    assert keys(tmp_path) == keys(tmp_path, lr=0.3) == clean
    noisy = [keys(tmp_path, pixel_noise=20.0), keys(tmp_path, label_noise=0.1)]
    noisy.append(keys(tmp_path, pixel_noise=20.0, pixel_noise_wraps=True))
    assert len({*clean, *(key for each in noisy for key in each)}) == 4 * len(clean)
