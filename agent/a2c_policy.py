"""The trained policy at work: loads a checkpoint, decides on a view, says why."""

from __future__ import annotations

from pathlib import Path

from agent.actions import STAY, moved
from agent.baselines import BASELINE_NAMES, POLICY_NAMES, make_policy
from agent.compiled_policy import CompiledPolicy
from agent.decision import MigrationDecision, Move, Policy, Stay, View
from agent.flat import KIND as FLAT_KIND
from agent.flat import load_flat
from agent.lookahead import Lookahead, reason
from agent.optimum import ExactPolicy, refuse_large
from agent.own_policy import policy_of_file
from agent.policy import BLOCKS, PolicyFunction
from agent.refined import LookAheadPolicy, PolishedPolicy
from twin.checkpoint import kind_of, load_checkpoint
from twin.errors import InputError
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SCHEMA_HASH, SERVER_FEATURES, VNF_FEATURES
from twin.scenario import Scenario

KIND = "policy"
GENERIC = "generic"
REFINEMENTS = (POLISH, LOOK_AHEAD) = ("polish", "look-ahead")
_SHIPPED = Path(__file__).resolve().parent / "policies"
_SUFFIX = ".safetensors"


class A2CPolicy:
    """Takes the likeliest action of a trained actor. No randomness: the same view gives the same decision."""

    name = "a2c"

    def __init__(self, function: PolicyFunction, *, trained_on: str) -> None:
        self.function, self.trained_on = function, trained_on
        self._scores = CompiledPolicy(function)
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        """Stay, or the move, with a reason. At most one forward pass and two evaluations of the cost model."""
        if not view.mask.any():
            return Stay("no move is feasible")
        scores = self._scores(self._lookahead.observation(view))
        action = int(scores.logits.argmax())
        if action == STAY:
            return Stay(self._why_stay(float(scores.probabilities[STAY])))
        vnf, server = moved(action, servers=len(view.scenario.servers))
        prediction = self._lookahead.prediction(view, vnf, server)
        names = view.scenario.vnfs[vnf].id, view.scenario.servers[server].id
        return Move(*names, reason(view, vnf, server, prediction), prediction)

    @staticmethod
    def _why_stay(probability: float) -> str:
        return f"no move is worth its cost ({probability:.0%} sure)"


def load_policy(source: Path | str) -> A2CPolicy:
    """A trained policy of a file, or a shipped one by its name (`small`); a file of that name wins.

    InputError where there is neither, or where the file does not fit this version's features.
    """
    path = Path(source)
    if not path.is_file():
        path = _shipped(str(source))
    checkpoint = load_checkpoint(path, kind=KIND, schema_hash=SCHEMA_HASH)
    function = PolicyFunction(checkpoint.tensors, checkpoint.scalers)
    _refuse_misfit(path, function)
    return A2CPolicy(function, trained_on=checkpoint.scenario)


def shipped_policies() -> tuple[str, ...]:
    """Names of the trained policies that ship."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob(f"*{_SUFFIX}")))


def default_policy(scenario: Scenario) -> A2CPolicy:
    """The policy that ships for a scenario of this name, else the generic one, which fits any scenario."""
    return load_policy(_shipped(scenario.name if scenario.name in shipped_policies() else GENERIC))


def named_policy(name: str, scenario: Scenario, *, seed: int = 0) -> Policy:
    """Any policy by what a user may call it: a baseline, `a2c` or nothing (the default one), or a trained policy.

    A file may also hold what another library trained (`agent.flat`), or be FILE.py:CLASS. With `+polish` or, for one of
    ours, `+look-ahead` behind its name its choice is refined (`agent.refined`). InputError for anything else.
    """
    base, plus, refinement = name.rpartition("+")
    if plus and not Path(name).is_file():
        return _refined(named_policy(base, scenario, seed=seed), refinement)
    if name in ("", A2CPolicy.name):
        return default_policy(scenario)
    if name in BASELINE_NAMES:
        if name == ExactPolicy.name:
            refuse_large(scenario)
        return make_policy(name, seed=seed)
    if (place := name.rpartition(":"))[0].endswith(".py"):
        return policy_of_file(Path(place[0]), place[2])
    if not Path(name).is_file() and name not in shipped_policies():
        raise InputError(
            f"unknown policy {name!r}: one of {', '.join(POLICY_NAMES)}, a trained policy's file, or FILE.py:CLASS"
        )
    if Path(name).is_file() and kind_of(Path(name)) == FLAT_KIND:
        return load_flat(Path(name), scenario)
    return load_policy(name)


def _refined(policy: Policy, refinement: str) -> Policy:
    if refinement == POLISH:
        return PolishedPolicy(policy)
    if refinement != LOOK_AHEAD:
        raise InputError(f"unknown refinement {refinement!r}: one of {', '.join(REFINEMENTS)}")
    if not isinstance(policy, A2CPolicy):
        raise InputError(f"{LOOK_AHEAD} needs a trained policy, not {policy.name}")
    return LookAheadPolicy(policy.name, policy.function)


def _shipped(name: str) -> Path:
    if name not in shipped_policies():
        raise InputError(f"no policy {name!r}: neither a file nor one of {', '.join(shipped_policies())}")
    return _SHIPPED / f"{name}{_SUFFIX}"


def _refuse_misfit(path: Path, function: PolicyFunction) -> None:
    """A file may carry the right schema and still hold another network."""
    features = (VNF_FEATURES, SERVER_FEATURES, PAIR_FEATURES, GLOBAL_FEATURES)
    sizes = {block: len(names) for block, names in zip(BLOCKS, features, strict=True)}
    hidden = function.weights["own.weight"].shape[0] if "own.weight" in function.weights else 0
    needed = {f"{block}.{kind}": (size,) for block, size in sizes.items() for kind in ("mean", "std")}
    found = {name: tensor.shape for name, tensor in function.scalers.items()}
    shapes = {name: tensor.shape for name, tensor in function.weights.items()}
    if found != needed or shapes != weight_shapes(sizes, hidden):
        raise InputError(f"{path}: its tensors are not those of this version's policy: train it anew")


def weight_shapes(sizes: dict[str, int], hidden: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the policy for `sizes` features per block; a test holds the network to it."""
    inputs = {"vnf": sizes["vnf"], "server": sizes["server"], "pair": sizes["pair"] + 1, "glob": sizes["glob"]}
    inputs |= {"own": hidden, "row": 2 * hidden, "column": 2 * hidden, "everything": hidden}
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (hidden, size) for name, size in inputs.items()}
    shapes |= {"score.weight": (1, hidden), "direct.weight": (1, sizes["pair"] + 1)}
    shapes |= {f"{name}.bias": (hidden,) for name in ("pair", "glob", "own")}
    for head in ("stay", "value"):
        shapes |= {f"{head}.0.weight": (hidden, 3 * hidden), f"{head}.0.bias": (hidden,)}
        shapes |= {f"{head}.2.weight": (1, hidden), f"{head}.2.bias": (1,)}
    return shapes
