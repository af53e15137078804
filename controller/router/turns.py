"""Taking turns in exact proportion: the quota method of apportionment, one seat at a time.

After n turns an option of share f has had ``floor(n f)`` or ``ceil(n f)`` of them, for every n and every option. As
scheduling: an option's k-th turn is a unit job, released once ``n f > k - 1`` and due when ``n f >= k``, and the
earliest deadline goes first. Drawing at random strays by ``sqrt(n)``, and greatest deficit first by more than one.

M. L. Balinski and H. P. Young, "The quota method of apportionment", American Mathematical Monthly 82, 1975.
"""

from __future__ import annotations

from controller.router.shares import WHOLE, Weights


class Turns:
    """Whose turn it is, among options with whole weights.

    Its state is a lag per option, in units of ``1 / WHOLE`` turns: turns that it was due less turns that it had. Lags
    sum to 0, and lie strictly between -1 and 1 turn for as long as the weights stay.

    Where the weights change, lags are kept: a type that is asked for less often than plans come would otherwise always
    go to its largest share. For as long as the same m options stay, each has then still had less than one turn more
    than all its shares sum to, and less than ``m - 1`` turns fewer.

    Parameters
    ----------
    weights : positive whole numbers that sum to ``WHOLE``; their order breaks ties.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = dict(weights)
        self._lags = dict.fromkeys(weights, 0)

    def next(self) -> str | None:
        """Return the option whose turn it is."""
        lags, weights = self._lags, self._weights
        for option, weight in weights.items():
            lags[option] += weight
        # Lags sum to a whole turn now, so that at least one option is due something and may be chosen. Of these, the
        # first to be owed a whole turn: least (WHOLE - lag) / weight, compared without dividing.
        chosen, chosen_gap, chosen_weight = None, 1, 0
        for option, weight in weights.items():
            if lags[option] <= 0:
                continue
            gap = WHOLE - lags[option]
            if gap * chosen_weight < chosen_gap * weight:
                chosen, chosen_gap, chosen_weight = option, gap, weight
        lags[chosen] -= WHOLE
        return chosen

    def reweigh(self, weights: Weights) -> None:
        """Go on with other weights. Options that are gone leave what they were owed, or had too much, to the others."""
        if weights == self._weights:
            return
        left_over = sum(lag for option, lag in self._lags.items() if option not in weights)
        self._weights = dict(weights)
        self._lags = {option: self._lags.get(option, 0) for option in weights}
        for option, lag in self._lags.items():
            # Only lags of the other sign shrink for it, so that none grows.
            if left_over * lag < 0:
                taken = min(abs(left_over), abs(lag)) * (1 if left_over > 0 else -1)
                self._lags[option] += taken
                left_over -= taken
