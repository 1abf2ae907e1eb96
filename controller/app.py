"""The Ryu application: hands what switches say to the runtime, nothing else.

`vnftwin controller SCENARIO` gives it a runtime; `ryu-manager controller.app` lets it make its own from the
environment: VNFTWIN_SCENARIO (a file or a shipped name), VNFTWIN_POLICY, VNFTWIN_TWIN, VNFTWIN_MODE, VNFTWIN_LISTEN,
VNFTWIN_JOURNAL, VNFTWIN_TOKEN.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

from controller import openflow, openflow_replies
from controller.runtime import Runtime, runtime_from_environment
from controller.ryu_compat import (
    DEAD_DISPATCHER,
    MAIN_DISPATCHER,
    OFP_VERSION,
    RyuApp,
    ofp_event,
    send,
    set_ev_cls,
)

T = TypeVar("T")


class VnfTwin(RyuApp):  # type: ignore[misc]
    """One controller per process."""

    OFP_VERSIONS = (OFP_VERSION,)

    def __init__(self, *args: Any, runtime: Runtime | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runtime = runtime or runtime_from_environment()
        self.service = self.runtime.service
        self._parts: dict[tuple[int, str, int], list[Any]] = {}

    def start(self) -> Any:
        thread = super().start()
        self.runtime.start()
        return thread

    def stop(self) -> None:
        self.runtime.stop()
        super().stop()

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_changed(self, event: Any) -> None:
        if event.state == MAIN_DISPATCHER:
            self._forget_parts(event.datapath.id)
            send(event.datapath, (openflow.port_desc_request(),))
        elif event.datapath.id is not None:
            self.service.switch_left(event.datapath.id)

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)
    def port_description(self, event: Any) -> None:
        datapath = event.msg.datapath
        if (ports := self._whole(event.msg, "ports", openflow_replies.ports(event.msg))) is not None:
            self.service.switch_joined(datapath.id, ports, datapath.send)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status(self, event: Any) -> None:
        self.service.port_changed(event.msg.datapath.id, openflow_replies.port_change(event.msg))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event: Any) -> None:
        now_s = time.monotonic()  # before anything else: the time is what the packet is for
        self.service.packet_in(now_s, event.msg.datapath.id, openflow_replies.packet_in(event.msg))

    @set_ev_cls(ofp_event.EventOFPEchoReply, MAIN_DISPATCHER)
    def echo_reply(self, event: Any) -> None:
        self.service.echo_reply(time.monotonic(), event.msg.datapath.id, bytes(event.msg.data))

    @set_ev_cls(ofp_event.EventOFPPortStatsReply, MAIN_DISPATCHER)
    def port_stats(self, event: Any) -> None:
        if (counters := self._whole(event.msg, "counters", openflow_replies.port_counters(event.msg))) is not None:
            self.service.port_stats(event.msg.datapath.id, counters)

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def flow_stats(self, event: Any) -> None:
        dpid = event.msg.datapath.id
        counters = openflow_replies.flow_counters(self.runtime.switch_name(dpid), event.msg)
        if (whole := self._whole(event.msg, "flows", counters)) is not None:
            self.service.flow_stats(dpid, whole, xid=event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def barrier_reply(self, event: Any) -> None:
        self.service.barrier_reply(event.msg.datapath.id, event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def error(self, event: Any) -> None:
        self.service.error(event.msg.datapath.id, openflow_replies.switch_error(event.msg))

    def _whole(self, message: Any, what: str, part: Sequence[T]) -> list[T] | None:
        """A multipart reply may come in several messages: all entries with the last one, None before."""
        key = (message.datapath.id, what, message.xid)
        self._parts.setdefault(key, []).extend(part)
        return None if openflow_replies.more_follows(message) else self._parts.pop(key)

    def _forget_parts(self, dpid: int) -> None:
        for key in [key for key in self._parts if key[0] == dpid]:
            del self._parts[key]
