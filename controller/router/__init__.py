"""The router side: follow plans, choose deployments, acknowledge. Needs no Faust."""

from controller.router.choose import RouteChooser
from controller.router.fence import Fence, LogIdentity
from controller.router.subscriber import PlanSubscriber
from controller.router.tail import newest_plan

__all__ = ["Fence", "LogIdentity", "PlanSubscriber", "RouteChooser", "newest_plan"]
