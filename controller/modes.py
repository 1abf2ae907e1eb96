"""In which mode each VNF can move now: what its type says, and what its instance and its engine can do.

The rule is `twin.move_modes.choose_mode`; here is asked what it has to know. Answers that cannot change are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from controller.chain_keeper import ChainKeeper
from controller.containers import ContainerError
from twin.move_modes import Ability, Choice, MoveMode, choose_mode, keeps_state
from twin.scenario import Scenario

NO_MODE = "no_mode"  # the refusal
REPLACEMENT = "replacement"  # instead of a mode: the instance had died, there was nothing left to move


@dataclass(slots=True)
class Modes:
    """`hand_over_lack(instance)` and `checkpoint_lack(source, target)` say why not, '' where it can be."""

    scenario: Scenario
    keeper: ChainKeeper
    hand_over_lack: Callable[[str], str]
    checkpoint_lack: Callable[[str, str], str]
    told: dict[str, str] = field(default_factory=dict)  # vnf -> its mode as it was last found, NO_MODE for none
    _lacks: dict[str, str] = field(default_factory=dict)  # by name of an instance, which never gets another program

    def choose(self, vnf: str, target: str) -> Choice:
        """How this VNF moves there now, or why it cannot. Engines are asked only where the answer depends on them."""
        choice = self._choose(vnf, target)
        self.told[vnf] = choice.mode or NO_MODE
        return choice

    def _choose(self, vnf: str, target: str) -> Choice:
        kind, instance = self.scenario.vnf(vnf).type, self.keeper.active.get(vnf)
        if instance is None:
            return Choice(None, "it has no instance")
        hand_over = "not asked" if not keeps_state(kind) else self._hand_over_lack(instance)
        quick = choose_mode(kind, Ability(hand_over, "not asked"))
        if quick.mode in (MoveMode.STATELESS, MoveMode.HAND_OVER):
            return quick
        checkpoint = self.checkpoint_lack(self.keeper.server_of[vnf], target)
        return choose_mode(kind, Ability(hand_over, checkpoint))

    def fixed(self) -> frozenset[tuple[str, str]]:
        """The moves (VNF, server) that have no mode."""
        servers = [server.id for server in self.scenario.servers]
        return frozenset(
            (vnf.id, server) for vnf in self.scenario.vnfs for server in servers if not self.choose(vnf.id, server).mode
        )

    def _hand_over_lack(self, instance: str) -> str:
        if instance not in self._lacks:
            self._lacks = {n: lack for n, lack in self._lacks.items() if n in self.keeper.active.values()}
            try:
                self._lacks[instance] = self.hand_over_lack(instance)
            except ContainerError as error:
                return str(error)  # it may be otherwise in a moment
        return self._lacks[instance]
