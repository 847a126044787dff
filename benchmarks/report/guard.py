"""A subset of the benchmarks in five minutes, its ratios held to the committed ones.

    python benchmarks/report/guard.py

Ratios travel between machines better than times: ours and the rival's are taken side by side. The
newest committed run of a benchmark counts, one on the same kind of machine before others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runs import Measured, newest, read

HERE = Path(__file__).resolve().parents[1]

WORSE = 1.2  # a ratio may grow by so much before it counts as slower
SUBSET = (
    "(row_dots and 1000000) or (orthogonalise and 8 and 1000000 and 10)"
    " or ((block_dots or block_update) and 1000000) or softmax or pointwise or layer_norm"
    " or (bench_hvp and (product or quadratic) and not vmap and not 16 and not 64)"
)


def slower(now: Iterable[Measured], before: Iterable[Measured]) -> list[str]:
    """Benchmarks of ``now`` with a ratio that is worse than the committed one by more than 20%."""
    known: dict[tuple[str, str, str], list[Measured]] = {}
    for one in before:
        known.setdefault((one.source, one.name, one.case), []).append(one)
    found = []
    for one in now:
        several = known.get((one.source, one.name, one.case), [])
        several.sort(key=lambda other: (other.machine == one.machine, other.run))
        for rival, ratio in one.extra.get("ratios", {}).items():
            then = several[-1].extra.get("ratios", {}).get(rival) if several else None
            # The better quartile: a noisy machine alone must not fail.
            if then is not None and ratio["low"] > WORSE * then["median"]:
                found.append(
                    f"{one.source}::{one.name}[{one.case}] against {rival}: "
                    f"{ratio['median']:.3f}, was {then['median']:.3f} ({several[-1].run})"
                )
    return found


def main() -> str | None:
    """Run the subset and say what has become slower."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "guard.json"
        run = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", str(HERE), "--benchmark-only", "-q"),
                *("-o", "python_files=bench_*.py", "-o", "addopts=--import-mode=importlib"),
                *("-k", SUBSET, f"--benchmark-json={result}"),
            ],
            cwd=HERE.parent,
            check=False,
        )
        if run.returncode:
            return "a benchmark failed; see above"
        worse = slower(read(json.loads(result.read_text())), newest())
    return "\n".join(["slower than the committed results:", *worse]) if worse else None


if __name__ == "__main__":
    sys.exit(main())
