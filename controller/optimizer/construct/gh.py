"""GH as a method: one construction, offered to a search."""

from __future__ import annotations

from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.search import Search


def gh(search: Search) -> None:
    """GH: one construction, types in descending arrival rate."""
    greedy = Greedy.of(search.space)
    search.offer(greedy.build(next(fixed_orders(search.space.instance))))
