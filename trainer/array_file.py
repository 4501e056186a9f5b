"""Arrays as one safetensors file, with the permissions that the umask leaves.

safetensors 0.8 writes into a temporary file of mode 0600 and renames it, so that nobody else can read what
was trained. The name is therefore taken first, and what is written gets the mode that the name had.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names, in place of an earlier file.

    Raises: OSError, SafetensorError when the disk does not take them.
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(arrays), path)
    path.chmod(mode)
