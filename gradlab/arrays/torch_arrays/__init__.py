"""PyTorch's tensors as traced arrays: a core of NumPy's functions, with NumPy's arguments.

PyTorch has other names for arguments (``dim``, ``keepdim``), no negative steps, and its own rules
for an index that mixes integers and arrays. `gradlab.arrays.ducks` casts tensors to NumPy's dtypes
before they reach this package.

The files, in reading order:

- `library.py`: `TorchArray` and its library, which names the others;
- `special.py`: SciPy's special functions, and functions with a derivative of our own;
- `functions.py`: PyTorch's functions, by NumPy's names and with NumPy's arguments;
- `indices.py`: an index of NumPy's as PyTorch takes it.
"""

from gradlab.arrays.torch_arrays.library import LIBRARY, TorchArray, TorchLibrary

__all__ = ["LIBRARY", "TorchArray", "TorchLibrary"]
