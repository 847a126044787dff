"""Put what pytest-benchmark wrote where committed results live, without what names a machine.

    python benchmarks/report/keep.py RAW.json [NAME [FOLDER]]

Writes ``NAME.json``, by default that of the raw file, into FOLDER, by default
``benchmarks/results/<date>_<machine>_<commit>``. Single timings are left out too: medians and
quartiles stay.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from runs import RESULTS


def stripped(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` without the name of the machine and without single timings."""
    content = {**content, "machine_info": {**content["machine_info"]}}
    content["machine_info"].pop("node", None)
    content["benchmarks"] = [
        {**one, "stats": {key: value for key, value in one["stats"].items() if key != "data"}}
        for one in content["benchmarks"]
    ]
    return content


def folder(content: dict[str, Any]) -> str:
    """Name of the folder: date, kind of machine, commit."""
    info = content["machine_info"]
    gpus = {one["extra_info"].get("gpu") for one in content["benchmarks"]} - {None}
    brand = gpus.pop() if gpus else info["cpu"]["brand_raw"]
    words = re.findall(r"[a-z0-9]+", brand.lower())
    plain = [word for word in words if word not in {"amd", "intel", "r", "tm", "nvidia", "cpu"}]
    count = "" if gpus or "core" in plain else f"-{info['cpu']['count']}core"
    machine = "-".join(plain[:2]) + count
    return f"{content['datetime'][:10]}_{machine}_{content['commit_info']['id'][:7]}"


def main(raw: str, name: str | None = None, where: str | None = None) -> str | None:
    """Keep one file; returns what is wrong with it."""
    content = json.loads(Path(raw).read_text())
    if not content["benchmarks"]:
        return f"{raw} holds no benchmark"
    target = Path(where or RESULTS / folder(content)) / f"{name or Path(raw).stem}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(stripped(content), indent=1) + "\n")
    sys.stdout.write(f"{target}\n")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
