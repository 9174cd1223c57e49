"""What a C++ compiler is told to find the libtorch that this Python's torch brings."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils import cpp_extension


def flags() -> list[str]:
    """Include folders, libraries and where these are at run time."""
    library = Path(torch.__file__).parent / "lib"
    abi = int(torch.compiled_with_cxx11_abi())
    return [
        *(f"-I{folder}" for folder in cpp_extension.include_paths()),
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        f"-L{library}",
        f"-Wl,-rpath,{library}",
        *("-ltorch", "-ltorch_cpu", "-lc10"),
    ]


if __name__ == "__main__":
    print(*flags())
