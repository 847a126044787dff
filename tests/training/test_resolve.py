import math

import pytest

from landscape_fast.training.losses import build_loss
from landscape_fast.training.resolve import accepted, call, check_name, resolve


def test_a_known_name_wins_and_a_path_is_imported():
    assert resolve("a", {"a": len}, argument="model") is len
    assert resolve("math:sqrt", {}, argument="model") is math.sqrt
    assert resolve("pathlib:Path.cwd", {}, argument="model")().exists()


@pytest.mark.parametrize("name", [":f", "m:", "m:f:g", "a/b.py:f", "m.:f", "m:f()"])
def test_a_path_of_another_form_is_refused_before_any_import(name):
    with pytest.raises(ValueError, match=r"loss must look like 'package\.module:callable'"):
        check_name(name, {}, argument="loss")


def test_an_error_inside_the_callable_is_not_taken_for_a_wrong_option():
    def broken(size):
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        call(broken, {"size": 1}, argument="options")


def test_options_that_do_not_fit_are_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"options do not fit .*'wdth'; did you mean 'width'"):
        call(lambda width: width, {"wdth": 1}, argument="options")


def test_only_named_arguments_are_passed_on():
    assert accepted(lambda width, *, depth=1: None, {"width": 2, "classes": 3}) == {"width": 2}


def test_a_loss_class_is_instantiated_and_one_that_needs_arguments_is_refused():
    assert type(build_loss("torch.nn:MSELoss")).__name__ == "MSELoss"
    with pytest.raises(ValueError, match="loss options do not fit AdaptiveLogSoftmaxWithLoss"):
        build_loss("torch.nn:AdaptiveLogSoftmaxWithLoss")
    with pytest.raises(ValueError, match="did you mean 'cross_entropy'"):
        build_loss("crossentropy")
