"""Rules mended while the controller runs: what switches tell is compared with what they should have, and set right.

When is a matter of trust. An answer may be older than what a plan has done since, so rules of chains that have just
changed are left alone. A switch that has come back is different: it may have lost everything, also the rules of moves
that are under way. There, what is missing comes back at once: the old way until a plan turns, the new one afterwards
(docs/transactions.md, "Reconciliation").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controller import openflow
from controller.chain_keeper import ChainKeeper
from controller.flow_rule import FlowRule
from controller.migrations import Migrations
from controller.reconcile import VERDICT_INTERVAL_S, Counters, Reconciler
from controller.switchboard import Switchboard

BACK_S = 10.0  # a switch counts as just come back for so long: longer than most moves take, and a poll


class RuleMender:
    """Sends the difference to one switch after another."""

    def __init__(
        self, keeper: ChainKeeper, migrations: Migrations, switchboard: Switchboard, clock: Callable[[], float]
    ) -> None:
        self.counters = Counters()
        self._keeper, self._migrations, self._switchboard, self._clock = keeper, migrations, switchboard, clock
        self._reconciler = Reconciler()
        self._back_at_s: dict[str, float] = {}

    def is_back(self, switch: str) -> None:
        """A switch has connected again."""
        self._back_at_s[switch] = self._clock()

    def chain_is_right(self, chain: int) -> bool:
        """Whether all entries of a chain, by its number, were seen to be as wanted since it last changed."""
        return self._reconciler.is_right(chain, self._keeper.entry_switches().get(chain, frozenset()))

    def mend(self, switch: str, installed: Iterable[FlowRule]) -> None:
        """`installed`: all rules of the switch in our cookie range, as it has just told."""
        now_s = self._clock()
        unsettled = self._migrations.unsettled(now_s, VERDICT_INTERVAL_S)
        is_back = now_s - self._back_at_s.get(switch, -BACK_S) < BACK_S
        difference = self._reconciler.difference(
            switch, self._keeper.wanted_rules(switch, self._keeper.link_ports(switch)), installed,
            unsettled=unsettled, unrepaired=frozenset() if is_back else unsettled,
            entries=self._keeper.entry_switches(), links_known=self._keeper.knows_links_of(switch),
        )  # fmt: skip
        if difference:
            self.counters.rules_repaired += len(difference.missing)
            self.counters.rules_alien += len(difference.alien)
            self._switchboard.send(switch, map(openflow.delete_rule, difference.alien))
            self._switchboard.send(switch, map(openflow.add_rule, difference.missing))
