"""arec in a notebook: models with their pictures, specs in cells, training with a live curve.

    %load_ext specc
    %%arec din  # a cell with a spec: `din` is the model

Promises: IPython is imported where a notebook asks for it, and nowhere else.
"""

from specc.notebook.curve import Curve

__all__ = ["Curve"]
