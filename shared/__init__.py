"""What the producer and the workers must agree on: settings, messages, keys, storage, the broker.

Nothing here loops, has a main, or imports torch.
"""

from importlib.metadata import version

__version__ = version("jamak")
