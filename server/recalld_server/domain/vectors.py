"""Names for the arrays that pass between rooms, with their shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float32]  # (d,), unit length; zeros for a text whose meaning the model can't tell
FloatMatrix = NDArray[np.float32]  # (n, d), rows of unit length or of zeros
UInt32Array = NDArray[np.uint32]  # (n,)
Int64Array = NDArray[np.int64]  # (n,)
BoolArray = NDArray[np.bool_]  # (n,)
