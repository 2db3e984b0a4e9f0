"""A few hundred samples of a picture, by which scenes are told apart."""

import numpy as np
from numpy.typing import NDArray

LUMA_SIDE, CHROMA_SIDE = 24, 12
LUMA_SAMPLES = LUMA_SIDE**2
SAMPLES = LUMA_SAMPLES + 2 * CHROMA_SIDE**2

Signature = NDArray[np.uint8]
"""(SAMPLES,): 24 x 24 of Y, 12 x 12 of U and of V, row by row."""
Signatures = NDArray[np.uint8]
"""(frames, SAMPLES)"""
