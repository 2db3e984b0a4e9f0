"""The broker: Celery apps, and queues on Redis whose messages are leased."""
