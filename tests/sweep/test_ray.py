"""On Ray as in processes: nothing is lost, and results are the same to the bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import blobs
import errands
import pytest
from errands import Log, assert_every_end, errand, of_every_kind
from serial import Silent, run_serially

from landscape_fast.clock import seconds
from landscape_fast.store import Store, locked
from landscape_fast.sweep.executors.local import HaltedError
from landscape_fast.sweep.graph import Task
from landscape_fast.sweep.run import run_study
from landscape_fast.sweep.study_file import read_study

ray = pytest.importorskip("ray")

from landscape_fast.sweep.executors.ray import run_ray  # noqa: E402  needs Ray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

os.environ.setdefault("RAY_worker_niceness", "0")  # as the local executor's; Ray's default is 15

SMALL = {"object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[None]:
    """Two CPUs and a GPU that Ray only believes in; one cluster at a time on this machine."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with locked(shared / "ray.lock"):
        ray.init(address="local", num_cpus=2, num_gpus=1, log_to_driver=False, **SMALL)
        yield
        ray.shutdown()


def test_every_kind_of_end_is_recorded_and_the_others_go_on(cluster, tmp_path):
    log = Log()
    outcomes = run_ray(of_every_kind(tmp_path), errands.perform, log)
    assert_every_end(outcomes, log, tmp_path)
    assert log.ends["die-always"].message.startswith("its worker or node died 3 times")


def test_a_task_short_of_gpu_memory_gets_a_whole_gpu_once(cluster, tmp_path):
    tasks = [errand(tmp_path, name) for name in ("memory-shared", "memory-never", "fine")]
    log = Log()
    run_ray(tasks, errands.perform, log, gpus_per_task=0.25)
    assert {name: outcome.status for name, outcome in log.ends.items()} == {
        "memory-shared": "done",
        "memory-never": "failed",
        "fine": "done",
    }
    assert errands.performances(tmp_path, "memory-shared") == 2
    assert errands.performances(tmp_path, "memory-never") == 2
    assert log.ends["memory-never"].message == (
        "OutOfMemoryError: CUDA out of memory, with 1.0 of a GPU"
    )
    assert "Traceback" in log.ends["memory-never"].detail


def test_tasks_are_packed_by_what_the_first_of_their_kind_took(cluster, tmp_path):
    tasks = [Task(f"share {i}", "stage", (f"share {i}", tmp_path), kind="one") for i in range(5)]
    run_ray(tasks, errands.perform, Log(), gpus_per_task="auto")
    asked = [float((tmp_path / f"gpus of share {i}").read_text()) for i in range(5)]
    assert asked == [1.0, 0.25, 0.25, 0.25, 0.25]  # 1.5 * 2 + 1 GiB of 16


def test_without_a_gpu_there_is_nothing_to_choose(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "nodes", list)
    with pytest.raises(ValueError, match="gpus_per_task is 'auto', but no node has a GPU"):
        run_ray([errand(tmp_path, "fine")], errands.perform, Log(), gpus_per_task="auto")


def test_a_full_disk_ends_the_run_with_its_reason(cluster, tmp_path):
    tasks = [errand(tmp_path, "full"), errand(tmp_path, "fine", "full")]
    with pytest.raises(HaltedError, match="No space left on device; what is finished is kept"):
        run_ray(tasks, errands.perform, Log())
    assert errands.performances(tmp_path, "fine") == 0


def test_tasks_of_five_seconds_lose_less_than_five_percent(cluster, tmp_path):
    log = Log()
    run_ray([errand(tmp_path, f"nap {i}") for i in range(10)], errands.perform, log)
    # Ten naps on two CPUs; counted from the end of the first two, when both workers are there.
    assert log.times[-1] - log.times[1] < 1.05 * 4 * 5


def test_what_cannot_be_placed_is_refused(cluster, tmp_path):
    tasks = [errand(tmp_path, "fine")]
    for options, message in (
        ({"workers": 0}, "workers must be a whole number of at least 1, got 0"),
        ({"workers": 2, "address": "auto"}, "workers must be left to the running cluster, got 2"),
        ({"gpus_per_task": float("nan")}, "gpus_per_task must be at least 0 and finite, got nan"),
        ({"gpus_per_task": 1.5}, "a share up to 1 or a whole number, got 1.5"),
        ({"gpus_per_task": 2}, "gpus_per_task is 2, but no node has more than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run_ray(tasks, errands.perform, Log(), **options)
    assert run_ray([], errands.perform, Log()) == []


def digits(folder: Path, **changes: object) -> Path:
    """A study of 100 short tasks on the handwritten digits."""
    grid = {
        "load": {"knob": "width", "values": [2, 4, 8]},
        "temperature": {"knob": "batch_size", "values": [32, 128]},
        "seeds": [0, 1],
    }
    measure = {
        "hessian": {"rtol": 0.2, "samples": 300},
        "connectivity": {"epochs": 2},
        "cka": {"samples": 128},
    }
    options = {"model": "small_cnn", "data": "digits", "training": {"epochs": 3}}
    return blobs.write_study(
        folder / "digits.yaml", grid=grid, measure=measure, **options, **changes
    )


def command(study: Path, output: Path, address: str) -> list[str]:
    line = [sys.executable, "-m", "landscape_fast.cli", "study", str(study)]
    return [*line, "--output", str(output), "--executor", "ray", "--address", address]


def contents(folder: Path) -> dict[tuple[str, str], object]:
    store = Store(folder / "results")
    found = {}
    for address in store:
        assert store.has(*address)
        header = store.header(*address)
        found[address] = header["fields"], header["arrays_sha256"]
    assert store.problems == []
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[tuple[str, str], object]:
    """Results of the study, one task after the other in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = read_study(digits(folder))
    done = run_study(study, folder, lambda plan: Silent(), execute=run_serially)
    assert not done.failures
    return contents(folder)


class Nodes:
    """A cluster of nodes on this machine, each of one CPU, and what can happen to it."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL})
        self.second = self.add()

    def add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=100_000_000)

    def lose_one(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.add()

    def kill_a_worker(self, draw: random.Random) -> bool:
        """SIGKILL a process that performs a task, if there is one just now."""
        busy = [process for node in self.cluster.list_all_nodes() for process in working(node)]
        if busy:
            os.kill(draw.choice(busy), signal.SIGKILL)
        return bool(busy)


def working(node) -> list[int]:
    """Processes under a node's raylet that are performing a task."""
    found = []
    for info in node.all_processes.get("raylet", []):
        raylet = info.process.pid
        for child in Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::_performed"):
                    found.append(int(child))
    return found


@pytest.fixture
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    ray.shutdown()
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with locked(shared / "nodes.lock"):
        found = Nodes()
        yield found
        found.cluster.shutdown()


def test_two_nodes_give_the_bits_of_one_process(nodes, undisturbed, tmp_path):
    study = digits(tmp_path)
    line = command(study, tmp_path / "out", nodes.cluster.address)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(tmp_path / "out") == undisturbed
    again = subprocess.run(line, capture_output=True, text=True)
    assert "all there" in again.stdout


def test_chaos_changes_nothing(nodes, undisturbed, tmp_path):
    """Workers, a node and the driver die at seeded moments; the study ends whole all the same."""
    draw = random.Random(7)
    study, out = digits(tmp_path), tmp_path / "out"
    line = command(study, out, nodes.cluster.address)
    store, everything = Store(out / "results"), len(undisturbed)
    assert everything >= 60
    kinds = ["worker"] * 4 + ["node", "driver", "driver"]
    draw.shuffle(kinds)
    moments = sorted(draw.sample(range(3, everything - 10), len(kinds)))
    events = list(zip(moments, kinds, strict=True))
    log = (tmp_path / "log").open("w")
    driver = subprocess.Popen(line, stdout=log, stderr=log)
    deadline = seconds() + 900
    happened = []
    while driver.poll() is None or events:
        assert seconds() < deadline, (tmp_path / "log").read_text()
        assert driver.poll() is None, f"it ended before {events}: {(tmp_path / 'log').read_text()}"
        if events and len(list(store)) >= events[0][0]:
            kind = events[0][1]
            if kind == "worker" and not nodes.kill_a_worker(draw):
                continue  # between two tasks
            if kind == "node":
                nodes.lose_one()
            if kind == "driver":
                driver.kill()
                driver.wait()
                driver = subprocess.Popen(line, stdout=log, stderr=log)
            happened.append(events.pop(0))
        time.sleep(0.02)
    said = (tmp_path / "log").read_text()
    assert driver.returncode == 0, said
    assert len(happened) == len(kinds)
    assert list(store.failures) == []
    assert contents(out) == undisturbed
