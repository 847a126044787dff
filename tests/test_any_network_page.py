"""The page on any network quotes the numbers that its experiment wrote."""

from __future__ import annotations

import study_pages


def test_the_figures_in_its_text_are_those_of_the_result_file():
    text = study_pages.text("any-network")
    found = study_pages.found("any-network")
    *classical, spiking = found.values()
    one, two, three = (f"{row['smallest']:.2f}" for row in classical)
    largest, smallest = spiking["eigenvalues"][0], spiking["smallest"]
    for said in (
        f"(the smallest {one}, {two} and {three})",
        f"below zero, {smallest:.2f}, as above, {largest:.2f}",
    ):
        assert said in text, said
    for row in found.values():
        assert row["surface lowest"] == row["surface at the model"]
        assert row["surface by the plain model because"] is None
    assert [row["refused"] is not None for row in found.values()] == [False] * 3 + [True]
