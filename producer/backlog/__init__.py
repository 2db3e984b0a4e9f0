"""Backlogs: what is in a bucket already, listed into a manifest and fed through bounded queues."""
