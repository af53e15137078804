"""The demo: everything of Coxswain in one process tree, on a day of traffic played at speed."""
