"""Deliberate bugs, put into the product from outside of it: an audit that finds none of them proves nothing."""
