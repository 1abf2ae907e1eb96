"""What one scrape costs with a long history: `python -m tests.bench.scrape [--moves 1000] [--scenario medium]`."""

from __future__ import annotations

import argparse
import time
from statistics import median

from agent.baselines import StayPolicy
from controller.records import MigrationRecord, MigrationStatus, StepRecord
from controller.rest import RestApplication
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

STEPS = 14
SCRAPES = 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--scenario", default="medium")
    arguments = parser.parse_args()
    control = Control(load_scenario(arguments.scenario), StayPolicy())
    _remember(control, arguments.moves)
    application = RestApplication(control.descriptions)
    took_ms, cpu_ms, size = [], [], 0
    for _ in range(SCRAPES):
        began, cpu_s = time.perf_counter(), time.process_time()
        size = len(_scrape(application))
        took_ms.append(1000.0 * (time.perf_counter() - began))
        cpu_ms.append(1000.0 * (time.process_time() - cpu_s))
    series = sum(not line.startswith(b"#") for line in control.descriptions.metrics().splitlines())
    print(f"{arguments.scenario}, {arguments.moves} moves: {size / 1024:.0f} KiB, {series} series")
    for what, values in (("wall", took_ms), ("CPU", cpu_ms)):
        print(f"{what:5}{median(values):7.1f} ms at the median, {max(values):7.1f} ms at most")


def _remember(control: Control, count: int) -> None:
    migrations = control.service.migrations
    vnf = control.service.scenario.vnfs[0].id
    for number in range(count):
        steps = [StepRecord("Barrier", float(number), 1.0) for _ in range(STEPS)]
        record = MigrationRecord(f"x{number}", vnf, "a", "b", "asked for", float(number), mode="hand_over", steps=steps)
        record.silence_ms = 5.0 + number % 7
        migrations.ended(record, MigrationStatus.DONE, "")
        migrations.records[record.id] = record


def _scrape(application: RestApplication) -> bytes:
    from webob import Request

    body: bytes = Request.blank("/metrics").get_response(application).body
    return body


if __name__ == "__main__":
    main()
