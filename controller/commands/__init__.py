"""The commands of ``coxswain``, one a file."""
