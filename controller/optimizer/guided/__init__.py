"""LP-guided AGH: column generation points at deployments, a descent over open sets at sets, small MILPs decide."""
