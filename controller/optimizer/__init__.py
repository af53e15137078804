"""The optimizer: from an instance to a plan that the judge accepts, or to the words for why there is none."""
