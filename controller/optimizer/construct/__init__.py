"""GH, the greedy construction: two phases over the candidates of M1, ranked by M2, with the upgrades of M3."""
