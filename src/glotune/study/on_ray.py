"""The runs of a study as tasks of a Ray cluster (https://docs.ray.io, "Ray Core: Tasks").

The nodes share the study's folder, as for every Ray workload with checkpoints: what a lost node left there is gone on
with on another one, and the report is written from the same files as a local study's. Texts, models and the folder
that the study is started in must be visible too. Caches are each node's own.
"""

from __future__ import annotations

import os
import queue
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glotune.errors import MissingExtra, RunError, UserError
from glotune.study import ray_node, workers
from glotune.study.directory import StudyDirectory
from glotune.study.ray_node import Errand
from glotune.study.workers import GRACE_SECONDS, Ended, Message, Started, message_of

RELEASE_SECONDS = 120.0
"""A lost node's worker notices its loss, and a file server frees the locks of a dead client, within this time."""
CLIENT_PORT = 10001
"""Where Ray's client server listens unless told otherwise."""
PATIENCE_SECONDS = 60.0
"""How long a node may take to answer whether it is fit."""


@dataclass(frozen=True)
class Needs:
    """What one run occupies."""

    cpus: float = 1
    gpus: float | None = None
    """None: one where the cluster has any, else none."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to a cluster: ``ray`` is the one that this machine belongs to, ``ray://HOST[:PORT]`` any other.

    Raises:
        MissingExtra: Ray is not installed.
        UserError: the address is none, or nothing answers there.
    """
    if find_spec("ray") is None:
        raise MissingExtra("ray", "ray", "Carrying a study out on a cluster")
    place = _reachable(address)
    import ray

    try:
        _join(place)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(address, " ".join(str(error).split()[:30])) from error
    try:
        yield
    finally:
        ray.shutdown()


def _join(place: str) -> None:
    """A busy head may not have started a server for this client in the time that Ray grants: it is asked once more."""
    import ray

    for is_last in (False, True):
        try:
            ray.init(address=place, log_to_driver=False, logging_level="error", configure_logging=False)
        except ConnectionAbortedError:
            if is_last:
                raise
        else:
            return


def _reachable(address: str) -> str:
    """The address in Ray's words, after a look whether anything listens there: Ray itself asks for minutes."""
    if address == "ray":
        named = os.environ.get("RAY_ADDRESS", "auto")
        if named == "auto" or named.startswith("ray://"):
            return named if named == "auto" else _reachable(named)
        host, _, port = named.rpartition(":")
        _knock(address, host, port)
        return named
    host, _, port = address.removeprefix("ray://").rstrip("/").rpartition(":")
    if not host:
        host, port = port, str(CLIENT_PORT)
    if not address.startswith("ray://") or not host or not port.isdecimal():
        raise UserError(f"--on {address}", expected="ray, or ray://HOST:PORT")
    _knock(address, host, port)
    return f"ray://{host}:{port}"


def _knock(address: str, host: str, port: str) -> None:
    try:
        socket.create_connection((host.strip("[]"), int(port)), 10).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _unreachable(address, f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from error


def _unreachable(address: str, why: str) -> UserError:
    if address == "ray":
        return UserError(
            f"this machine belongs to no Ray cluster ({why})",
            remedy="Start one with: ray start --head, or name another one's head: --on ray://HOST:10001",
        )
    return UserError(
        f"no Ray cluster answers at {address} ({why})",
        expected="the head node's client server, on port 10001 unless it was started with another",
        remedy="Ask it with: ray status, on the head node",
    )


class RayWorkers:
    """One task for each run; Ray begins as many as the cluster has room for."""

    def __init__(self, directory: StudyDirectory, needs: Needs, at_once: int | None) -> None:
        """Looks whether the nodes are fit.

        Raises:
            UserError: no node has what a run needs, or a node can't carry runs out.
        """
        import ray
        from ray import cloudpickle
        from ray.util.queue import Queue

        cloudpickle.register_pickle_by_value(ray_node)
        self.at_once, self.release_seconds = at_once, RELEASE_SECONDS
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus = needs.gpus if needs.gpus is not None else float(any(node["Resources"].get("GPU") for node in nodes))
        rooms = _runs_by_node(nodes, needs.cpus, gpus)
        share, self.room = max(rooms), sum(rooms)
        self._errand = _errand(directory, int(needs.cpus), min(share, at_once or share))
        _check(nodes, self._errand)
        head = {"node:__internal_head__": 0.001}
        self._post = Queue(actor_options={"num_cpus": 0, "resources": head})  # it must not go with another node
        self._task = ray.remote(_carry).options(
            num_cpus=needs.cpus, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._running: dict[Any, str] = {}
        self._told: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def start(self, run: str) -> None:
        """Submits the run's task."""
        self._running[self._task.remote(self._errand, run, self._post)] = run

    def listen(self) -> Message:
        """The next line of a run, or the end of a task."""
        while self._told.empty():
            import ray

            try:
                ended, _ = ray.wait(list(self._running), timeout=0.5)
                self._collect()
            except (ConnectionError, ray.exceptions.RayError) as error:
                raise RunError(f"The Ray cluster was lost ({_first_line(error)}). Go on by the same command") from error
            for reference in ended:
                self._told.put(_end(self._running.pop(reference), reference))
        return self._told.get()

    def stop(self) -> None:
        """Cancels the tasks, each of which asks its run for a checkpoint."""
        import ray

        for reference in reversed(self._running):  # a waiting task must not begin where a running one leaves
            ray.cancel(reference, force=False)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE_SECONDS + 5)

    def _collect(self) -> None:
        """What the runs said meanwhile."""
        for run, content in self._post.get_nowait_batch(self._post.qsize()):
            message = Started(run) if "started" in content else message_of(run, content)
            if message is not None and run in self._running.values():  # a line can arrive after the end
                self._told.put(message)


def _carry(errand: Errand, run: str, post: Any) -> dict[str, Any]:
    """The task: on the node, in a worker of Ray.

    It waits for no answer: a task that waits for Ray gives its CPU away meanwhile, and a second run would begin on it.
    """
    return ray_node.carry(errand, run, lambda name, content: post.actor.put_nowait.remote((name, content)))


def _end(run: str, reference: Any) -> Ended:
    import ray

    try:
        return Ended(run, **ray.get(reference))
    except (ray.exceptions.TaskCancelledError, KeyboardInterrupt):
        raise KeyboardInterrupt from None
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        return Ended(run, 1, last_words=_first_line(cause))
    except ray.exceptions.RayError as error:
        return Ended(run, None, last_words=f"its node or worker was lost ({type(error).__name__})")


def _runs_by_node(nodes: list[dict[str, Any]], cpus: float, gpus: float) -> list[int]:
    """Runs that each node takes.

    Raises:
        UserError: none takes one.
    """
    rooms = [
        min(int(node["Resources"].get(name, 0) // amount) for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount)
        for node in nodes
    ]
    if not max(rooms, default=0):
        amounts = [[f"{node['Resources'].get(name, 0):g} {name}s" for name in ("CPU", "GPU")] for node in nodes]
        raise UserError(
            f"no node of the cluster has the {cpus:g} CPUs and {gpus:g} GPUs of a run",
            expected=f"no more than a node has: {'; '.join(dict.fromkeys(' and '.join(each) for each in amounts))}",
            remedy="Ask for less with --cpus and --gpus",
        )
    return rooms


def _errand(directory: StudyDirectory, threads: int, jobs: int) -> Errand:
    mark = uuid.uuid4().hex
    (directory.logs / ".cluster").write_text(mark, encoding="utf-8")
    return Errand(
        str(directory.path.absolute()), mark, str(Path.cwd()), metadata.version("glotune"), workers.CHILD,
        max(1, threads), jobs, GRACE_SECONDS,
    )  # fmt: skip


def _check(nodes: list[dict[str, Any]], errand: Errand) -> None:
    """Asks every node that has processors whether it is fit, before the first run."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(ray_node.unfit)
    asked = [
        ask.options(
            num_cpus=0, max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(errand)
        for node in nodes
        if node["Resources"].get("CPU")
    ]
    try:
        faults = [fault for fault in ray.get(asked, timeout=PATIENCE_SECONDS) if fault]
    except ray.exceptions.RayError as error:
        raise RunError(f"A node of the Ray cluster does not answer ({_first_line(error)})") from error
    if faults:
        raise UserError(
            "; ".join(dict.fromkeys(faults)),
            expected="the same glotune on every node, and the study's folder, texts and models at the same paths",
            remedy="Put the study on a shared file system: --out FOLDER",
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
