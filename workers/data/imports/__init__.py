"""Data sets of others as rows of ours: one file for each layout, with where it is published.

What is imported is named by each data set in its own way; names.py finds the file that is meant.
Those of annotation tools are in shared/annotations/, for they become feedback, too (annotated.py).
The layouts know no S3, and no rules of training: what a row may hold is checked for all of them
alike (take.py).
"""
