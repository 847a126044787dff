"""The local executor loses nothing: not a task, not a worker, not the reason of a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import errands
import pytest
from errands import Log, assert_every_end, errand, of_every_kind

from landscape_fast.sweep.executors.local import HaltedError, run_local
from landscape_fast.sweep.graph import Task


def test_every_kind_of_end_is_recorded_and_the_others_go_on(tmp_path):
    log = Log()
    outcomes = run_local(of_every_kind(tmp_path), errands.perform, log, workers=2)
    assert_every_end(outcomes, log, tmp_path)
    assert log.ends["die-always"].message == (
        "its worker died 3 times, the last time with exit code 7"
    )


def test_a_worker_of_tasks_without_torch_starts_without_it():
    code = "import sys, landscape_fast.sweep.executors.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_full_disk_ends_the_run_with_its_reason(tmp_path):
    tasks = [errand(tmp_path, "full"), errand(tmp_path, "fine", "full")]
    with pytest.raises(HaltedError, match="No space left on device; what is finished is kept"):
        run_local(tasks, errands.perform, Log(), workers=1)
    assert errands.performances(tmp_path, "fine") == 0


def test_ctrl_c_leaves_no_worker_behind(tmp_path):
    def interrupt_once_started() -> None:
        while not (tmp_path / "sleep").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    start = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist ignores it
    try:
        threading.Thread(target=interrupt_once_started).start()
        with pytest.raises(KeyboardInterrupt):
            run_local([errand(tmp_path, "sleep")], errands.perform, Log(), workers=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 30, "it waited for the task"
    assert not alive(int((tmp_path / "sleep").read_text()))


DRIVER = """
import sys
from pathlib import Path
import errands
from landscape_fast.sweep.executors.local import run_local
from landscape_fast.sweep.graph import Task

class Silent:
    def started(self, task): pass
    def finished(self, outcome): pass

if __name__ == "__main__":
    run_local([Task("sleep", "stage", ("sleep", Path(sys.argv[1])))], errands.perform, Silent())
"""


def test_workers_die_with_a_killed_driver(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    path = os.pathsep.join([str(Path(errands.__file__).parent), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
    )
    trace = tmp_path / "sleep"
    while not (trace.exists() and trace.read_text()):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 10
    while alive(int(trace.read_text())):
        assert time.monotonic() < deadline, "the worker outlives its driver"
        time.sleep(0.05)


def test_workers_that_cannot_start_are_one_error(monkeypatch, capfd):
    monkeypatch.setattr(errands.unimportable, "__name__", "missing", raising=False)
    monkeypatch.setattr(errands.unimportable, "__qualname__", "missing", raising=False)
    monkeypatch.setattr(errands, "missing", errands.unimportable, raising=False)
    monkeypatch.setattr("landscape_fast.sweep.executors.local._FAILED_STARTS", 1)
    task = Task("a", "stage", None)
    with pytest.raises(RuntimeError, match=r"die while they start \(with exit code 1\)"):
        run_local([task], errands.unimportable, Log(), workers=1)
    assert "missing" in capfd.readouterr().err


def test_no_tasks_start_no_process(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_context", pytest.fail)
    assert run_local([], errands.perform, Log()) == []


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(ValueError, match="workers must be a whole number of at least 1, got 0"):
        run_local([], errands.perform, Log(), workers=0)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False
