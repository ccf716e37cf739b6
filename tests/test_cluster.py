"""Searching on real Ray clusters whose workers, nodes and drivers are killed: no trial is lost or counted twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from support.stand_in import SPACE, evaluate, evaluator, settings
from tfsparse import cluster as cluster_module
from tfsparse.cluster import RayCluster
from tfsparse.convert import least_model
from tfsparse.errors import UserError
from tfsparse.network import Infeasible
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, RunFolder
from tfsparse.search import search

# The nodes of these clusters lie on loopback, and so has their driver to.
os.environ.update(cluster_module._OWN)
ray = pytest.importorskip("ray", reason="Ray is not installed: make setup")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """What tests hand to workers is imported there."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]))


def _console() -> Console:
    return Console(file=open(os.devnull, "w"), width=80)


def _whole(folder: RunFolder, trials: int) -> None:
    """Every trial there once, and no candidate twice."""
    numbers = [record.trial for record in folder.records]
    assert len(numbers) == len(set(numbers)) == trials
    assert len({record.candidate.id for record in folder.records}) == trials
    assert {record.status for record in folder.records} == {COMPLETED}
    written = RunFolder.open(folder.path)
    assert [one.to_json() for one in written.records] == [one.to_json() for one in folder.records]


def _wait_for(path: Path, seconds: float = 180) -> str:
    deadline = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
    return path.read_text()


def held(data, *, measurer, note: str, pause: float = 0.0):
    """An evaluation of which the first notes its process and node and then takes for ever; all others are quick."""

    def judge(candidate, **keywords):
        path = Path(note)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return evaluate(candidate, pause=pause, **keywords)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{os.getpid()} {ray.get_runtime_context().get_node_id()}")
        time.sleep(600)

    return judge


def troubled(data, *, measurer):
    """An evaluation that fails or refuses, by the trial's seed: the same trials whatever is proposed, and never so many
    in a row that the search gives up."""

    def judge(candidate, **keywords):
        kind = keywords["seed"] % 4
        if kind == 0:
            raise ZeroDivisionError("of all things")
        if kind == 1:
            raise Infeasible("does not fit after all")
        return evaluate(candidate, **keywords)

    return judge


def _left_behind(folder: Path) -> list[str]:
    """Processes that were started with this cluster's folder."""
    found = subprocess.run(["ps", "-ewwo", "stat,args"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if str(folder) in line and not line.startswith("Z")]


def test_two_workers_do_all_trials_and_leave_nothing(tmp_path):
    folder = RunFolder.create(tmp_path / "run", settings(10))
    with RayCluster(2) as cluster:
        place = cluster._folder
        assert _left_behind(place)
        search(folder, cluster.workers(evaluator, None, pause=0.05), _console())
        trouble = RunFolder.create(tmp_path / "trouble", settings(8))
        search(trouble, cluster.workers(troubled, None), _console())
    _whole(folder, 10)
    assert {FAILED, INFEASIBLE} & {record.status for record in trouble.records}
    assert sum(record.status != INFEASIBLE for record in trouble.records) == 8
    deadline = time.monotonic() + 60
    while _left_behind(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not place.exists() and not _left_behind(place)


def test_a_killed_worker_costs_nothing(tmp_path):
    note = tmp_path / "note"
    folder = RunFolder.create(tmp_path / "run", settings(6))

    def kill() -> None:
        os.kill(int(_wait_for(note).split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with RayCluster(2) as cluster:
        killer.start()
        search(folder, cluster.workers(held, None, note=str(note)), _console())
    killer.join()
    _whole(folder, 6)


@pytest.fixture
def two_nodes():
    """A cluster on loopback: the driver's node without cores, and what a test adds."""
    from ray.cluster_utils import Cluster

    os.environ.update(cluster_module._QUIET)
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False},
    )
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_lost_node_costs_its_running_trials_only(tmp_path, two_nodes):
    note = tmp_path / "note"
    nodes = [two_nodes.add_node(num_cpus=1, resources={"emulator": 1}, node_ip_address="127.0.0.1") for _ in range(2)]
    folder = RunFolder.create(tmp_path / "run", settings(6))

    def remove() -> None:
        lost = _wait_for(note).split()[1]
        two_nodes.remove_node(next(node for node in nodes if node.node_id == lost), allow_graceful=False)

    remover = threading.Thread(target=remove)
    with RayCluster(2, two_nodes.address) as cluster:
        remover.start()
        search(folder, cluster.workers(held, None, note=str(note)), _console())
    remover.join()
    _whole(folder, 6)


def test_measured_where_the_chip_is(tmp_path, two_nodes, monkeypatch):
    """Trials train on a node without a chip; the emulator is on another, and when that is gone it is missed."""
    model = tmp_path / "smallest.tflite"
    model.write_bytes(least_model(SPACE.network(SPACE.smallest)))
    two_nodes.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    with pytest.raises(UserError, match=r"no node of the cluster has the resource emulator.*--resources"):
        RayCluster(1, two_nodes.address).__enter__()
    chip = two_nodes.add_node(num_cpus=0, resources={"emulator": 1}, node_ip_address="127.0.0.1")
    with RayCluster(1, two_nodes.address) as cluster:
        figures = cluster.measurer().measure(model, np.zeros((1, *SPACE.input_shape), np.uint8))
        assert figures.bit_exact and figures.flash_model > 0 and figures.instructions > 0
        model.write_bytes(b"no model")
        with pytest.raises(UserError, match=r"^[^\n]*$"):
            cluster.measurer().measure(model)
        two_nodes.remove_node(chip, allow_graceful=False)
        monkeypatch.setattr(cluster_module, "MEASUREMENT_SECONDS", 3)
        with pytest.raises(UserError, match="no node with the resource emulator"):
            cluster.measurer().measure(model)


def test_no_cluster_there_says_so():
    with pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        RayCluster(2, "127.0.0.1:1").__enter__()


def _start(path: Path, trials: int, pause: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "support.stand_in", str(path), str(trials), str(pause), "2"]
    return subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_a_killed_driver_resumes(tmp_path):
    path = tmp_path / "run"
    process = _start(path, 10, pause=0.4)
    assert process.stdout.readline() == "searching\n"
    deadline = time.monotonic() + 180
    while len((path / "trials.jsonl").read_bytes().splitlines()) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = [line for line in (path / "trials.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    process = _start(path, 10, pause=0.0)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert (path / "trials.jsonl").read_bytes().splitlines(keepends=True)[: len(lines)] == lines
    _whole(RunFolder.open(path), 10)
