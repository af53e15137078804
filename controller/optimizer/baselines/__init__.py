"""What others do, to compare with: each by name, each repaired just enough that its plan keeps every constraint."""

from controller.optimizer.baselines.homogeneous import homogeneous
from controller.optimizer.baselines.melange import melange
from controller.optimizer.baselines.provision_first import provision_first
from controller.optimizer.baselines.relax_and_round import relax_and_round

BASELINES = {"lpr": relax_and_round, "dvr": provision_first, "hf": homogeneous, "melange": melange}
"""The baselines by name; signatures are those of :data:`controller.optimizer.solve.METHODS`."""

__all__ = ["BASELINES", "homogeneous", "melange", "provision_first", "relax_and_round"]
