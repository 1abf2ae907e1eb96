"""Trials on Ray: the one file that imports it. A lost node's trials run again elsewhere, to the same policies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.sweep import Trial, run_trial
from agent.training import TrainedPolicy
from twin.errors import EnvironmentLack, VnftwinError


@dataclass(frozen=True, slots=True)
class OnRay:
    """Runs trials on the cluster at `address`, or on one of this machine alone ('').

    EnvironmentLack where Ray is not installed; VnftwinError where the cluster cannot be reached.
    """

    address: str = ""

    def __call__(self, trials: Sequence[Trial]) -> Iterator[tuple[int, TrainedPolicy]]:
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, self.address)
        try:
            # System failures (a node or worker is gone) are retried for ever, a trial's own exception never.
            task = ray.remote(num_cpus=1, max_retries=-1)(run_trial)
            rows = {task.remote(trial): row for row, trial in enumerate(trials)}
            while rows:
                (done,), _ = ray.wait(list(rows), num_returns=1)
                yield rows.pop(done), ray.get(done)
        finally:
            if ours:
                ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise EnvironmentLack("Ray is not installed", "pip install 'vnftwin[sweep]', or use --no-ray") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address or "local", include_dashboard=None if address else False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise VnftwinError(f"no Ray at {address or 'this machine'}: {str(error).splitlines()[0]}") from None
