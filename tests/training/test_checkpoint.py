import pickle

import pytest
import torch
from torch import nn

from landscape_fast.training.checkpoint import (
    load_checkpoint,
    read_content,
    read_state_dict,
    write_atomically,
)
from landscape_fast.training.models import small_cnn


def state(width: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(width)
    return small_cnn(width=width).state_dict()


def equal(one, two) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"lr": 0.1}},
        lambda s: {"state_dict": {f"module.{name}": value for name, value in s.items()}},
        lambda s: {f"_orig_mod.{name}": value for name, value in s.items()},
    ],
)
def test_weights_are_found_however_they_are_wrapped(tmp_path, wrap):
    torch.save(wrap(state()), tmp_path / "c.pt")
    model = small_cnn(width=3)
    load_checkpoint(tmp_path / "c.pt", model)
    assert equal(model.state_dict(), state())


def test_a_model_keeps_its_precision(tmp_path):
    torch.save(state(), tmp_path / "c.pt")
    model = small_cnn(width=3).double()
    load_checkpoint(tmp_path / "c.pt", model)
    assert model[0].weight.dtype == torch.float64
    assert torch.equal(model[0].weight.float(), state()["0.weight"])


def test_another_architecture_is_refused_with_the_differences_and_the_model_is_untouched(tmp_path):
    torch.save(state(width=4), tmp_path / "c.pt")
    model = small_cnn(width=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"does not fit .*0\.weight \(saved 4x1x3x3, model 3x1"):
        load_checkpoint(tmp_path / "c.pt", model)
    assert equal(model.state_dict(), before)


def test_only_the_first_few_differences_are_named(tmp_path):
    torch.save(state(), tmp_path / "c.pt")
    named = "missing from the file: weight, bias; unknown .* 0.weight, 1.weight, 1.bias and 11 more"
    with pytest.raises(ValueError, match=named):
        load_checkpoint(tmp_path / "c.pt", nn.Linear(2, 2))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_state_dict(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "c.pt"
    torch.save(state(), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"c\.pt' is damaged"):
        read_state_dict(path)


def test_a_flipped_byte_in_a_tensor_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"weight": torch.zeros(1000)}, path)
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    path.write_bytes(octets)
    with pytest.raises(ValueError, match="damaged"):
        read_state_dict(path)


def test_files_without_checksums_and_of_the_old_format_are_read(tmp_path):
    torch.save(state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with_sums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state(), tmp_path / "bare.pt")
    finally:
        torch.serialization.set_crc32_options(with_sums)
    assert equal(read_state_dict(tmp_path / "old.pt"), state())
    assert equal(read_state_dict(tmp_path / "bare.pt"), state())


def test_a_pickled_model_is_refused_with_what_to_do(tmp_path):
    torch.save(small_cnn(width=1), tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        read_state_dict(tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a state dict"),
        ({"lr": 0.1, "epoch": 3}, "holds no state dict; it holds 'lr', 'epoch'"),
        ({}, "holds no state dict; it holds nothing"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "c.pt")


def test_equal_content_gives_equal_bytes_under_any_name(tmp_path):
    write_atomically(tmp_path / "a.pt", state())
    write_atomically(tmp_path / "deeper" / "another-name.pt", state())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "deeper/another-name.pt").read_bytes()
    assert equal(read_content(tmp_path / "a.pt"), state())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "a.pt", state())
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        write_atomically(tmp_path / "a.pt", {"weights": state(), "unpicklable": lambda: None})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == before
