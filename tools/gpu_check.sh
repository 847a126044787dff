#!/usr/bin/env bash
# Everything that only a CUDA machine can show, in one run.
#
#   tools/gpu_check.sh [OUTDIR]      default: benchmarks/results/<date>_<gpu>_<commit>
#
# Builds the extension with CUDA required, runs the tests marked gpu and the native tests with no
# skip allowed, the native tests under compute-sanitizer where it exists, and the benchmarks. Needs no
# network: torch, numpy, scipy, cmake, ninja, pybind11, scikit-build-core and the test packages must
# be there for PYTHON. Leaves one log per part and JSON; the exit code says whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr -cs '[:alnum:]' - | sed 's/-$//')
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
out=${1:-benchmarks/results/$(date +%F)_${gpu,,}_$commit}
mkdir -p "$out"
export LANDSCAPE_REQUIRE_CUDA=1
failed=0

part() { # part NAME COMMAND...: run, keep the log, remember a failure
  local name=$1
  shift
  echo "== $name"
  "$@" >"$out/$name.log" 2>&1 || { failed=1; echo "   failed, end of $out/$name.log:"; tail -n 15 "$out/$name.log"; }
}

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv >"$out/gpu.csv"
part build "$PYTHON" -m pip install --no-build-isolation --no-deps -C cmake.define.LANDSCAPE_CUDA=ON -e .
part tests "$PYTHON" -m pytest -q -m gpu tests
part native "$PYTHON" -m pytest -q tests/native
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    part "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$PYTHON" -m pytest -q -m gpu tests/native
  done
else
  echo "== compute-sanitizer is not installed: skipped"
fi
raw=$(mktemp --suffix .json)
part benchmarks "$PYTHON" -m pytest benchmarks -q --benchmark-only --benchmark-json "$raw" \
  -o python_files='bench_*.py' -o addopts=--import-mode=importlib
part results "$PYTHON" benchmarks/report/keep.py "$raw" benchmarks "$out"
"$PYTHON" - "$out" "$failed" <<'PY'
import json, pathlib, platform, sys
import torch
out, failed = pathlib.Path(sys.argv[1]), sys.argv[2] != "0"
(out / "environment.json").write_text(json.dumps({
    "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "cuda": torch.version.cuda,
    "python": platform.python_version(), "passed": not failed}, indent=1) + "\n")
PY
echo "results in $out"
exit $failed
