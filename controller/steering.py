"""How a chain is steered: its stops, the path between each two of them, and the generation of each path.

Segment i leads from stop i to stop i + 1; one more, number `RETURN_SEGMENT`, leads replies straight from the egress to
the ingress. In a two-way chain replies pass the VNFs in reverse order, over the segments 15 - i from stop i + 1 to stop
i. The generation belongs to the segment, not to the chain: a packet that left an unchanged VNF is untagged,
so there a generation of the whole chain could not be told (docs/steering.md, "Generations").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from controller.tags import FIRST_RETURN_SEGMENT, LAST_FORWARD_SEGMENT, RETURN_SEGMENT, Tag
from twin.errors import VnftwinError
from twin.rewrites import Addresses
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
    to the ingress, from the egress or, in a two-way chain, from the first VNF.

    A two-way chain has `replies`, by which its VNFs' ports know them, and `returns`: the paths from stop 2 to stop 1,
    from stop 3 to stop 2 and so on. `back_vnfs` are the VNFs' ports that replies pass where these are not those of
    `stops`: so it is in the midst of a move, when one direction has been switched over and the other not.

    SteeringError where they do not fit together.
    """

    chain: int
    flow: Flow
    stops: tuple[Attachment, ...]
    segments: tuple[Segment, ...]
    back: Segment
    replies: Addresses | None = None
    returns: tuple[Segment, ...] = ()
    back_vnfs: tuple[Attachment, ...] = ()

    def __post_init__(self) -> None:
        most = FIRST_RETURN_SEGMENT if self.two_way else LAST_FORWARD_SEGMENT + 1
        if not 2 <= len(self.stops) <= most + 1 or len(self.segments) != len(self.stops) - 1:
            way = f"{len(self.stops)} stops with {len(self.segments)} segments"
            raise SteeringError(f"chain {self.chain}: {way}; the tag has room for {most} segments")
        self._check_replies()
        if len(set(self.vnfs)) != len(self.vnfs) or len(set(self.back_vnfs)) != len(self.back_vnfs):
            raise SteeringError(f"chain {self.chain}: two VNFs at one switch port")
        for number in self.numbers:
            self._check(number)

    def _check_replies(self) -> None:
        vnfs = len(self.vnfs) if self.replies else 0
        clients = len(self.replies.clients) if self.replies else 1
        if len(self.returns) != vnfs or clients != vnfs + 1 or len(self.back_vnfs) not in (0, vnfs):
            raise SteeringError(f"chain {self.chain}: a way back that is not that of its {len(self.vnfs)} VNFs")

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
    def two_way(self) -> bool:
        """Whether replies pass the VNFs."""
        return self.replies is not None

    @property
    def back_stops(self) -> tuple[Attachment, ...]:
        """The stops that replies of a two-way chain pass, in the order of the way there."""
        return (self.stops[0], *(self.back_vnfs or self.vnfs), self.stops[-1])

    @property
    def ports(self) -> frozenset[Attachment]:
        """The ports of all VNF instances that packets of the chain reach, there or back."""
        return frozenset((*self.vnfs, *self.back_vnfs))

    @property
    def numbers(self) -> Iterator[int]:
        """The numbers of all segments, those of the replies last and in their order."""
        yield from range(len(self.segments))
        yield from range(self.first_back, RETURN_SEGMENT + 1)

    @property
    def last(self) -> int:
        """The number of the segment that ends at the egress."""
        return len(self.segments) - 1

    @property
    def first_back(self) -> int:
        """The number of the segment that replies take from the egress."""
        return RETURN_SEGMENT - len(self.returns)

    def is_back(self, number: int) -> bool:
        """Whether a segment is one of the replies."""
        return number >= self.first_back

    def segment(self, number: int) -> Segment:
        if number == RETURN_SEGMENT:
            return self.back
        return self.returns[RETURN_SEGMENT - number - 1] if self.is_back(number) else self.segments[number]

    def ends(self, number: int) -> tuple[Attachment, Attachment]:
        """The stops that a segment joins."""
        if number == RETURN_SEGMENT and not self.two_way:
            return self.stops[-1], self.stops[0]
        if self.is_back(number):
            to = RETURN_SEGMENT - number
            return self.back_stops[to + 1], self.back_stops[to]
        return self.stops[number], self.stops[number + 1]

    def tag(self, number: int) -> Tag:
        return Tag(self.chain, number, self.segment(number).generation)

    def with_generation(self, number: int, generation: int) -> ChainSteering:
        """The same steering with another generation of one segment."""
        return self.with_segment(number, replace(self.segment(number), generation=generation))

    def with_segment(self, number: int, segment: Segment) -> ChainSteering:
        """The same steering with one segment in place of another."""
        if number == RETURN_SEGMENT:
            return replace(self, back=segment)
        if self.is_back(number):
            return replace(self, returns=_with(self.returns, RETURN_SEGMENT - number - 1, segment))
        return replace(self, segments=_with(self.segments, number, segment))


def _with(segments: tuple[Segment, ...], place: int, segment: Segment) -> tuple[Segment, ...]:
    return (*segments[:place], segment, *segments[place + 1 :])


def steer(
    chain: int,
    flow: Flow,
    stops: tuple[Attachment, ...],
    route: Callable[[str, str], SwitchPath],
    replies: Addresses | None = None,
) -> ChainSteering:
    """The steering of a chain over `route` (switch, switch -> path), all generations 0: what a planner is asked for.

    With `replies` it is a two-way chain.
    """
    segments = tuple(Segment(route(a.switch, b.switch)) for a, b in pairwise(stops))
    if replies is None:
        return ChainSteering(chain, flow, stops, segments, Segment(route(stops[-1].switch, stops[0].switch)))
    back, *returns = (Segment(route(b.switch, a.switch)) for a, b in pairwise(stops))
    return ChainSteering(chain, flow, stops, segments, back, replies, tuple(returns))
