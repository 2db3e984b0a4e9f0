"""Training sets: made, checked and changed. What a row is, shared/rows.py says.

Its verbs are the operator's: what needs the worker's libraries is imported where it is used.
"""
