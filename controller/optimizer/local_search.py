"""The local search of AGH: each kind of move in turn, as long as one of them saves something."""

from __future__ import annotations

from collections.abc import Callable

from controller.optimizer.consolidate import consolidations
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.moves.gather import gatherings
from controller.optimizer.moves.move import Move, price_change
from controller.optimizer.moves.relocate import relocations
from controller.optimizer.moves.serve import servings
from controller.optimizer.moves.shed import sheddings
from controller.optimizer.state import AllocationState

Neighbourhood = Callable[[AllocationState], list[Move]]


class LocalSearch:
    """Improves a state until no move saves anything (variable neighbourhood descent).

    Neighbourhoods are ordered by what looking at one takes; whenever one saves something the search starts again
    at the first.

    Parameters
    ----------
    least_saving : part of the cost below which a saving is not worth a move.
    """

    def __init__(self, greedy: Greedy, least_saving: float) -> None:
        self._least_saving = least_saving
        self._neighbourhoods: tuple[Neighbourhood, ...] = (
            relocations,
            lambda state: servings(state, greedy.candidates),
            sheddings,
            lambda state: gatherings(state, 1),
            lambda state: gatherings(state, 2),
            lambda state: consolidations(state, greedy.candidates),
        )

    def improve(self, state: AllocationState, should_stop: Callable[[], bool]) -> float:
        """Carry out saving moves until there is none, or until told to stop; return the cost."""
        cost = state.cost_usd()
        at = 0
        while at < len(self._neighbourhoods) and not should_stop():
            saved = self._apply(state, self._neighbourhoods[at](state), self._least_saving * abs(cost))
            cost -= saved
            at = 0 if saved > 0 else at + 1
        state.refresh()
        return state.cost_usd()

    @staticmethod
    def _apply(state: AllocationState, moves: list[Move], least_usd: float) -> float:
        """Carry out the best move, and of the others those that still save after it; return the saving."""
        saved = 0.0
        for move in moves:
            delta = price_change(state, move.at, move.change) if saved > 0 else move.delta_usd
            if -delta > least_usd:
                move.apply(state)
                saved -= delta
        return saved
