import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.training.schedule import lr_factor


def rates_of(scheduler_of, steps: int) -> list[float]:
    """Rates that a scheduler of torch gives to each step, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = scheduler_of(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@given(epochs=st.integers(1, 400), at=st.floats(0.0, 1.0))
def test_one_decay_happens_at_the_whole_epoch_below_its_share(epochs, at):
    found = [lr_factor("decay", e, epochs, decay=0.2, decay_at=at) for e in range(epochs)]
    before = int(at * epochs)
    assert found == [1.0] * before + [0.2] * (epochs - before)


@given(done=st.floats(0, 100))
def test_a_constant_rate_is_constant(done):
    assert lr_factor("constant", done, 100) == 1.0


def test_three_steps_are_those_of_the_published_scripts():
    found = [lr_factor("three_step", e, 100) for e in range(100)]
    assert found == pytest.approx([1.0] * 50 + [0.1] * 25 + [0.01] * 25)


def test_a_step_down_waits_for_the_end_of_an_epoch():
    assert lr_factor("three_step", 4.99, 10) == lr_factor("decay", 6.99, 10) == 1.0


def test_the_cosine_is_that_of_torch_stepped_in_every_batch():
    steps, epochs = 70, 10
    torchs = rates_of(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=steps), steps)
    ours = [lr_factor("cosine", step * epochs / steps, epochs) for step in range(steps)]
    assert ours == pytest.approx(torchs, abs=1e-12)


def test_one_cycle_tends_to_that_of_torch_as_steps_get_many():
    """Torch counts to the last step, we to the end of the run: they differ by a step."""
    for steps in (1_000, 10_000):
        torchs = rates_of(
            lambda o, n=steps: torch.optim.lr_scheduler.OneCycleLR(
                o, max_lr=1.0, total_steps=n, cycle_momentum=False
            ),
            steps,
        )
        ours = [lr_factor("one_cycle", step / steps, 1) for step in range(steps)]
        worst = max(abs(a - b) for a, b in zip(ours, torchs, strict=True))
        assert worst < 6 / steps


def test_one_cycle_starts_at_a_twenty_fifth_peaks_at_three_tenths_and_ends_near_nothing():
    assert lr_factor("one_cycle", 0, 20) == pytest.approx(1 / 25)
    assert lr_factor("one_cycle", 6, 20) == 1.0
    assert lr_factor("one_cycle", 20, 20) == pytest.approx(1 / 250_000)


@given(done=st.floats(0, 50), schedule=st.sampled_from(["cosine", "one_cycle"]))
def test_factors_stay_between_nothing_and_the_peak(done, schedule):
    assert 0.0 <= lr_factor(schedule, done, 50) <= 1.0
