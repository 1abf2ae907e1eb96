"""How quick the live page is: first paint, an event until it is shown, and frames with a large network.

`python -m tests.bench.page` opens a real browser on dry runs: `small`, and one with 100 switches, 60 servers and 50
chains, all of which are read anew once a second while a person points at one chain after the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from controller.client import ControllerClient
from tests.page.browser import FLAGS, Browser, browser, dry_run

OPENED, MOVES, WATCHED_S = 10, 8, 20.0
MOVING = tuple(flag for flag in FLAGS if flag != "--force-prefers-reduced-motion")
_FRAMES = """
window.frames_ms = []; let last = performance.now();
const chains = [...document.querySelectorAll('#chains tr')];
const step = (now) => {
  window.frames_ms.push(now - last); last = now;
  const row = chains[Math.floor(now / 500) % chains.length];
  row?.dispatchEvent(new PointerEvent('pointerenter'));
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""
_SEEN = """
const [vnf, target] = arguments;
window.seen_ms = null;
const cell = document.querySelector(`#chains [data-vnf='${vnf}'] small`);
new MutationObserver((_, me) => {
  if (cell.textContent === target) { window.seen_ms = performance.timeOrigin + performance.now(); me.disconnect(); }
}).observe(cell, {childList: true, characterData: true, subtree: true});
"""


_LINK_SEEN = """
const [link, look] = arguments;
window.seen_ms = null;
const lines = [...document.querySelectorAll('.layer-links .link')];
const line = lines.find((l) => l.textContent.startsWith(`link ${link}:`));
const look_again = () => {
  const seen = line.classList.contains('down') === (look === 'down');
  if (seen) window.seen_ms = performance.timeOrigin + performance.now();
  return seen;
};
if (!look_again()) new MutationObserver((_, me) => look_again() && me.disconnect()).observe(line, {attributes: true});
"""


def large_scenario(switches: int = 100, servers: int = 60, chains: int = 50) -> dict[str, Any]:
    """Twenty core switches in a ring with chords, the others at them; chains from edge to edge over three servers."""
    core = [f"core{i}" for i in range(1, switches // 5 + 1)]
    edge = [f"edge{i}" for i in range(1, switches - len(core) + 1)]
    n = len(core)
    links = [(core[i], core[(i + 1) % n]) for i in range(n)] + [(core[i], core[(i + 7) % n]) for i in range(0, n, 2)]
    links += [(name, core[i % n]) for i, name in enumerate(edge)]
    at = [(edge + core)[(7 * i) % switches] for i in range(servers)]
    traffic = {"profile": "diurnal", "mean_mbps": 1.0, "swing": 0.6, "day_s": 60, "noise": 0.1}
    return {
        "schema": 1, "name": "large", "period_s": 5, "objective": {"delay": 0.5, "energy": 0.5},
        "switches": core + edge,
        "servers": [
            {"id": f"s{i}", "tier": "edge" if a in edge else "core", "at": a, "cpu_cores": 1, "memory_mb": 2048}
            for i, a in enumerate(at, 1)
        ],
        "links": [{"a": a, "b": b, "bandwidth_mbps": 40, "delay_ms": 2 + i % 4} for i, (a, b) in enumerate(links)],
        "endpoints": [{"id": f"u{i}", "at": edge[(3 * i) % len(edge)]} for i in range(2 * chains)],
        "vnf_types": {
            "firewall": {"cpu_base": 0.01, "cpu_per_mbps": 0.02, "memory_mb": 32, "state_mb": 0.5, "service_ms": 0.1},
            "nat": {"cpu_base": 0.01, "cpu_per_mbps": 0.02, "memory_mb": 32, "state_mb": 4, "service_ms": 0.1},
            "monitor": {"cpu_base": 0.01, "cpu_per_mbps": 0.02, "memory_mb": 32, "state_mb": 8, "service_ms": 0.1},
        },
        "chains": [
            {"id": f"ch{i}", "from": f"u{2 * i}", "to": f"u{2 * i + 1}", "vnfs": ["firewall", "nat", "monitor"],
             "max_delay_ms": 200, "packet_bytes": 512, "traffic": {**traffic, "phase": i / chains}}
            for i in range(chains)
        ],
        "placement": {f"ch{i}": [f"s{(i * 7 + k * 13) % servers + 1}" for k in range(3)] for i in range(chains)},
    }  # fmt: skip


def first_paint_ms(page: Browser, url: str) -> tuple[float, float]:
    """From the request to the first content, and to the whole network as it is now."""
    page.driver.get("about:blank")
    page.driver.get(url)
    page.wait(lambda: page.run("return document.querySelectorAll('.layer-ways .way').length > 0"))
    whole = page.run("return performance.now()")
    paints = page.run("return performance.getEntriesByType('paint').map((p) => [p.name, p.startTime])")
    return float(dict(paints)["first-contentful-paint"]), float(whole)


def event_ms(page: Browser, client: ControllerClient, vnf: str, target: str) -> float:
    """From the end of a move, by the controller's clock, until the page shows where the VNF is."""
    page.run(_SEEN, vnf, target)
    asked_ms = 1000.0 * time.time()
    ident = client.move(vnf, target)["id"]
    page.wait(lambda: page.run("return window.seen_ms"))
    swapped_ms = _swapped_ms(client.wait_migration(ident, timeout_s=20.0), asked_ms)
    return float(page.run("return window.seen_ms")) - swapped_ms


def link_ms(page: Browser, link: str, look: str, act: Callable[[], object]) -> float:
    """From before `act` plugs a link in (`up`) or out (`down`) until the page shows it so."""
    page.run(_LINK_SEEN, link, look)
    acted_ms = 1000.0 * time.time()
    act()
    page.wait(lambda: page.run("return window.seen_ms"))
    return float(page.run("return window.seen_ms")) - acted_ms


def _swapped_ms(record: dict[str, Any], asked_ms: float) -> float:
    """When the last swap was confirmed: from then on every packet takes the new way."""
    swaps = [i for i, step in enumerate(record["steps"]) if step["name"] == "SwapEntry"]
    last = record["steps"][swaps[-1] + 1]
    since_asked_s: float = last["started_s"] - record["requested_s"]
    return asked_ms + 1000.0 * since_asked_s + float(last["took_ms"])


def frames_ms(page: Browser) -> list[float]:
    """Times between frames while everything is read anew and chains are pointed at."""
    page.run(_FRAMES)
    time.sleep(WATCHED_S)
    found: list[float] = page.run("return window.frames_ms")
    return found[5:]


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with dry_run("--mode", "manual") as url, browser(flags=MOVING) as page:
        paints = np.array([first_paint_ms(page, url) for _ in range(OPENED)])
        figures["first paint ms, median and worst"] = _spread(paints[:, 0])
        figures["whole network shown ms, median and worst"] = _spread(paints[:, 1])
        client = ControllerClient(url)
        latencies = [event_ms(page, client, "web1.firewall", ("e1", "e2")[i % 2]) for i in range(MOVES)]
        figures["swap confirmed to shown ms, median and worst"] = _spread(np.array(latencies))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(yaml.safe_dump(large_scenario(), sort_keys=False))
        with dry_run("--policy", "greedy", scenario=str(file)) as url, browser(size="1920,1080", flags=MOVING) as page:
            figures["large: first paint and whole ms"] = [round(v) for v in first_paint_ms(page, url)]
            frames = np.array(frames_ms(page))
            figures["large: frames per second"] = round(1000.0 / frames.mean(), 1)
            figures["large: frame ms, median, 95 % and worst"] = [
                round(float(v), 1) for v in np.quantile(frames, [0.5, 0.95, 1.0])
            ]
    return figures


def _spread(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [round(float(v), 1) for v in (np.median(values), values.max())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    for name, value in measure().items():
        print(f"{name}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
