"""How a chain is steered: its stops, the path between each two of them, and the generation of each path.

Segment i leads from stop i to stop i + 1; one more, number `RETURN_SEGMENT`, leads replies straight from the egress to
the ingress. The generation belongs to the segment, not to the chain: a packet that left an unchanged VNF is untagged,
so there a generation of the whole chain could not be told (docs/steering.md, "Generations").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from controller.tags import LAST_FORWARD_SEGMENT, RETURN_SEGMENT, Tag
from twin.errors import VnftwinError
from twin.scenario import Flow

SwitchPath = tuple[str, ...]
Adjacency = Mapping[tuple[str, str], int]  # (switch a, switch b) -> port of a towards b


class SteeringError(VnftwinError):
    """A chain that cannot be steered as asked; the message names the chain."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The switch port at which an endpoint or a VNF instance hangs."""

    switch: str
    port: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The switches from one stop to the next (one where both hang at the same), and the generation of its rules."""

    path: SwitchPath
    generation: int = 0


@dataclass(frozen=True, slots=True)
class ChainSteering:
    """Where the packets of one chain go.

    `stops` are the ingress, the VNFs in their order, the egress; `segments` the paths between them; `back` the path
    from egress to ingress. SteeringError where they do not fit together.
    """

    chain: int
    flow: Flow
    stops: tuple[Attachment, ...]
    segments: tuple[Segment, ...]
    back: Segment

    def __post_init__(self) -> None:
        if not 2 <= len(self.stops) <= LAST_FORWARD_SEGMENT + 2 or len(self.segments) != len(self.stops) - 1:
            raise SteeringError(f"chain {self.chain}: {len(self.stops)} stops with {len(self.segments)} segments")
        if len(set(self.vnfs)) != len(self.vnfs):
            raise SteeringError(f"chain {self.chain}: two VNFs at one switch port")
        for number in self.numbers:
            self._check(number)

    def _check(self, number: int) -> None:
        tag, path = self.tag(number), self.segment(number).path
        start, end = self.ends(number)
        if not path or (path[0], path[-1]) != (start.switch, end.switch) or len(set(path)) != len(path):
            raise SteeringError(
                f"chain {tag.chain}: path {'-'.join(path)} does not lead once from {start.switch} to {end.switch}"
            )

    @property
    def vnfs(self) -> tuple[Attachment, ...]:
        return self.stops[1:-1]

    @property
    def numbers(self) -> Iterator[int]:
        """The numbers of all segments, that of the return traffic last."""
        yield from range(len(self.segments))
        yield RETURN_SEGMENT

    @property
    def last(self) -> int:
        """The number of the segment that ends at the egress."""
        return len(self.segments) - 1

    def segment(self, number: int) -> Segment:
        return self.back if number == RETURN_SEGMENT else self.segments[number]

    def ends(self, number: int) -> tuple[Attachment, Attachment]:
        """The stops that a segment joins."""
        if number == RETURN_SEGMENT:
            return self.stops[-1], self.stops[0]
        return self.stops[number], self.stops[number + 1]

    def tag(self, number: int) -> Tag:
        return Tag(self.chain, number, self.segment(number).generation)

    def with_generation(self, number: int, generation: int) -> ChainSteering:
        """The same steering with another generation of one segment."""
        changed = replace(self.segment(number), generation=generation)
        if number == RETURN_SEGMENT:
            return replace(self, back=changed)
        return replace(self, segments=(*self.segments[:number], changed, *self.segments[number + 1 :]))


def steer(
    chain: int, flow: Flow, stops: tuple[Attachment, ...], route: Callable[[str, str], SwitchPath]
) -> ChainSteering:
    """The steering of a chain over `route` (switch, switch -> path), all generations 0: what a planner is asked for."""
    segments = tuple(Segment(route(a.switch, b.switch)) for a, b in pairwise(stops))
    return ChainSteering(chain, flow, stops, segments, Segment(route(stops[-1].switch, stops[0].switch)))
