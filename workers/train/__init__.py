"""A TrainJob becomes an adapter version: dataset, trainer, evaluation, publishing.

`job.py` is the parent: it talks to S3 and to a subprocess. `run.py` is the subprocess: it talks to
the model and knows neither S3 nor Redis.
"""
