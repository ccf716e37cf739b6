"""Jobs on a Ray cluster: several workers on this machine (`--workers`), or on many (`--address`).

The oracle and the run folder stay in the driver. A trial is one Ray task, from job to outcome; it trains on whatever
node has a free core, on one thread. Its measurement is a task of its own that asks for the resource `emulator` or
`board`, and so runs on a node that has one, as many at a time as there are:

    ray start --head --node-ip-address 10.0.0.1 --resources '{"emulator": 2}'
    ray start --address 10.0.0.1:6379 --resources '{"board": 1}'

Ray runs a task again whose worker or node died; what a job returns is written down once, by the driver. tfsparse has to
be installed on each node; the data travel through Ray's object store.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hil.targets import EMULATORS, split_name, target_names
from tfsparse.errors import UserError
from tfsparse.job import Evaluate, Job, Outcome, run_job, unfinished
from tfsparse.quiet import quietly
from tfsparse.workers import Report

# A task is tried again so many times when its worker or its node dies; a job that kills its workers is bad itself.
RETRIES = 2
# A measurement takes seconds; one that gets no chip for so long will not get one.
MEASUREMENT_SECONDS = 600
_CONNECT_SECONDS = 5
_POLL_SECONDS = 0.3
_STORE_BYTES = 200 * 2**20
# Set before TensorFlow is imported: two workers of one thread are faster than one of two.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Our own cluster listens on loopback alone: Ray takes the machine's outward address, whatever it is told, unless it
# believes that it cannot have a cluster. There a token adds nothing but a line that says so.
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}


def resource_of(target: str) -> str:
    """The Ray resource that a node has where models can be measured on this target, or this list of them."""
    kinds = {split_name(name)[1] for name in target_names(target)}
    return next(iter(kinds)) if len(kinds) == 1 and kinds <= set(EMULATORS) else "board"


class RayCluster:
    """A Ray cluster of our own with so many workers, or one that is joined. A context manager.

    Raises `UserError` where Ray is not installed, there is no cluster at `address`, or it has no chip for `target`.
    """

    def __init__(
        self, workers: int | None, address: str | None = None, *, target: str = "emulator", by_rows: bool = False
    ):
        self._asked, self._address, self.target, self.by_rows = workers, address, target, by_rows

    def __enter__(self) -> RayCluster:
        os.environ.update(_QUIET)
        if not self._address:
            os.environ.update(_OWN)
        try:
            import ray
        except ImportError as error:
            raise UserError("several workers need Ray: pip install -e '.[ray]'") from error
        self._ray = ray
        self._folder = Path(tempfile.mkdtemp(prefix="tfsparse-"))
        self._workers: list[RayWorkers] = []
        try:
            with quietly():
                self._join() if self._address else self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for workers in self._workers:
            workers.cancel()
        self._ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self.count = self._asked or os.cpu_count() or 1
        # Worker processes inherit these (on a cluster that is joined, tasks set them), and what they leave behind when
        # they are killed goes with our folder.
        inherited = {**_ONE_THREAD, "TMPDIR": str(self._folder)}
        before = {name: os.environ.get(name) for name in inherited}
        os.environ.update(inherited)
        try:
            self._start_ray()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def _start_ray(self) -> None:
        resource = resource_of(self.target)
        self._ray.init(
            num_cpus=self.count,
            resources={resource: self.count if resource == "emulator" else len(target_names(self.target))},
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(self._folder / "ray"),
            configure_logging=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )

    def _join(self) -> None:
        try:
            # Ray itself would try for more than a minute.
            host, colon, port = self._address.rpartition(":")
            if colon and "/" not in host and port.isdigit():
                socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
            self._ray.init(
                address=self._address, configure_logging=False, logging_level=logging.ERROR, log_to_driver=False
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"there is no Ray cluster at {self._address}: start one with ray start --head, or leave --address out"
            ) from error
        there = self._ray.cluster_resources()
        resource = resource_of(self.target)
        if there.get(resource, 0) < 1:
            raise UserError(
                f"no node of the cluster has the resource {resource}: start one with "
                f"ray start --address {self._address} --resources '{{\"{resource}\": 1}}'"
            )
        self.count = self._asked or max(1, int(there.get("CPU", 1)))

    def measurer(self) -> RemoteMeasurer:
        """Measures on a node of the cluster that has the target."""
        return RemoteMeasurer(self.target, self.by_rows)

    def workers(self, evaluate_of: Callable[..., Evaluate], data: Any, **keywords: Any) -> RayWorkers:
        """Workers whose evaluation is evaluate_of(data, measurer=, **keywords), made anew in each task; `data` travels
        once."""
        self._workers.append(RayWorkers(self, evaluate_of, data, keywords))
        return self._workers[-1]


class RayWorkers:
    """`workers.Workers` on a Ray cluster."""

    def __init__(self, cluster: RayCluster, evaluate_of: Callable[..., Evaluate], data: Any, keywords: dict[str, Any]):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self.count = ray, cluster.count
        self._evaluate_of, self._keywords = evaluate_of, keywords
        self._measurer = cluster.measurer()
        self._data = ray.put(data)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._reports = ray.remote(_Reports).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(_run).options(num_cpus=1, max_retries=RETRIES)
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Take a job."""
        reference = self._task.remote(job, self._data, self._evaluate_of, self._measurer, self._keywords, self._reports)
        self._running[reference] = job

    def next(self, report: Report) -> Outcome:
        """Wait for a job to end; its outcome. One whose task died again and again has failed."""
        while True:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_POLL_SECONDS)
            for number, (phase, fraction) in self._ray.get(self._reports.drain.remote()).items():
                report(number, phase, fraction)
            if not done:
                continue
            job = self._running.pop(done[0])
            try:
                return self._ray.get(done[0])
            except self._ray.exceptions.RayError as error:
                return Outcome(unfinished(job, _why(error)))

    def cancel(self) -> None:
        """End what still runs: nobody will take its outcome."""
        for reference in self._running:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._running.clear()


def _why(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "OutOfMemoryError":
        return "out of memory: Ray ended its worker to keep the machine alive"
    if kind in ("WorkerCrashedError", "NodeDiedError", "ObjectLostError"):
        return f"its worker died, {RETRIES + 1} times"
    return f"{kind}: {' '.join(str(error).split())[:300]}"


class _Reports:
    """The latest that each running trial had to say; lives beside the driver."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[str, float]] = {}

    def say(self, number: int, phase: str, fraction: float) -> None:
        self._latest[number] = phase, fraction

    def drain(self) -> dict[int, tuple[str, float]]:
        latest, self._latest = self._latest, {}
        return latest


def _run(job: Job, data: Any, evaluate_of: Callable[..., Evaluate], measurer, keywords, reports) -> Outcome:
    """The task: a job in a worker process, which is kept and knows TensorFlow from its last one."""
    for name, value in _ONE_THREAD.items():
        os.environ.setdefault(name, value)
    said = -math.inf

    def report(phase: str, fraction: float) -> None:
        nonlocal said
        # A message a step would be more work than the step.
        if fraction in (0.0, 1.0) or time.monotonic() > said + _POLL_SECONDS:
            said = time.monotonic()
            reports.say.remote(job.number, phase, fraction)

    return run_job(job, evaluate_of(data, measurer=measurer, **keywords), report)


class RemoteMeasurer:
    """Has models measured on a node of the Ray cluster that has the target; like `hil.measure.Measurer`."""

    def __init__(self, target: str, by_rows: bool = False):
        self.target, self.by_rows = target, by_rows

    def measure(self, model: Path, inputs: np.ndarray | None = None):
        """The figures (`hil.measure.Measurement`) of an int8 .tflite. Raises what a measurer does, and `UserError`
        where no node with the target could be had."""
        import ray

        task = ray.remote(_measure).options(num_cpus=0, resources={resource_of(self.target): 1}, max_retries=RETRIES)
        try:
            job = task.remote(self.target, self.by_rows, Path(model).read_bytes(), inputs)
            found = ray.get(job, timeout=MEASUREMENT_SECONDS)
        except ray.exceptions.GetTimeoutError as error:
            raise UserError(
                f"no node with the resource {resource_of(self.target)} answered for {MEASUREMENT_SECONDS} s: see to it "
                "that one is up"
            ) from error
        if isinstance(found, Exception):
            raise found
        return found


_measurers: dict[tuple[str, bool], Any] = {}


def _measure(target: str, by_rows: bool, model: bytes, inputs: np.ndarray | None):
    """The task: what a measurer of this process finds, or the error that it raises (Ray would bury its sentence in a
    traceback)."""
    from hil.pool import open_measurer

    key = target, by_rows
    if key not in _measurers:
        import atexit

        folder = tempfile.TemporaryDirectory(prefix="tfsparse-")
        atexit.register(folder.cleanup)
        _measurers[key] = open_measurer(target, "sparse", Path(folder.name), upload=True, by_rows=by_rows)
    with tempfile.TemporaryDirectory(prefix="tfsparse-") as name:
        path = Path(name) / "model.tflite"
        path.write_bytes(model)
        try:
            return _measurers[key].measure(path, inputs)
        except UserError as error:
            return error
