"""Whether an error says that memory ran out, the device's or the host's.

torch has a class of error for the device's alone. Knows nothing of what is done about it.
"""

import torch

WORDS = ("allocate memory", "out of memory")
"""Of torch's RuntimeErrors: of its allocator on a CPU, of files that it maps, of locked memory."""


def lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)
