"""Type names of arrays, with their shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float32]  # (d,), unit length; zeros if the model knows too few words of the text
FloatMatrix = NDArray[np.float32]  # (n, d), rows of unit length or of zeros
UInt32Array = NDArray[np.uint32]  # (n,)
Int64Array = NDArray[np.int64]  # (n,)
BoolArray = NDArray[np.bool_]  # (n,)
