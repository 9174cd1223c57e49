"""Names in the emitted source: of local values, of axes, of the model's parts.

Promises: every name is an identifier, is no keyword, shadows no builtin and no import, and is used once in
its function.
"""

from __future__ import annotations

import builtins
import keyword
import re

from specc.emit.code import quoted

PYTHON = frozenset(keyword.kwlist) | frozenset(dir(builtins))
IMPORTED = frozenset(
    """
    self batch at values torch Tensor F NamedTuple partial ops layers Axis Batch Model Weights
    CANDIDATE fixed binary_loss real_loss absolute_loss huber_loss class_loss table_loss choice_loss
    request_loss mean_of_labelled Values State
    """.split()
)
# The public attributes of a torch module and of specc_runtime.Model: a part of the model of such a
# name cannot be read as an attribute. A test holds this against the installed versions.
TAKEN = frozenset(
    """
    T_destination add add_module apply at_once attention bfloat16 buffers call_super_init candidate_part
    children compile constant cpu cuda device directory double dtype dump_patches eval extra_repr fetched
    files float forward get_buffer get_extra_state get_parameter get_submodule half home indices ipu label
    load_state_dict loss losses manifest modules mtia named_buffers named_children named_modules
    named_parameters numbers output parameters part place positions put register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook
    request_part requires_grad_ saved_as score_in_c set_extra_state set_row_counts set_submodule
    share_memory shows source state_dict to to_empty train training type values xpu zero_grad zeros
    """.split()
)


class Names:
    """The names taken in one function or module."""

    def __init__(self, *taken: str) -> None:
        self._taken = {*PYTHON, *IMPORTED, *taken}

    def take(self, *wishes: str) -> str:
        """Return the first free name of these, or the last one with a number, and mark it as taken."""
        cleaned = [identifier(wish) for wish in wishes]
        for name in cleaned:
            if name not in self._taken:
                break
        else:
            number = 2
            while f"{cleaned[-1]}_{number}" in self._taken:
                number += 1
            name = f"{cleaned[-1]}_{number}"
        self._taken.add(name)
        return name


def identifier(text: str) -> str:
    """Return the text with every character that cannot be in an identifier replaced."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", text).strip("_")
    return f"x_{name}" if not name or name[0].isdigit() else name


def class_name(model: str) -> str:
    """Return a model's class name: `dsin_official` -> `DsinOfficial`."""
    name = "".join(part[:1].upper() + part[1:] for part in identifier(model).split("_"))
    return name if name not in PYTHON | IMPORTED else f"{name}Model"


def attribute(path: str) -> str:
    """Return the expression by which a method reads the part of the model at a weight path."""
    steps = path.split(".")
    if all(
        s.isidentifier()
        and not s.startswith("_")
        and not keyword.iskeyword(s)
        and s not in TAKEN
        and not s.startswith("output_")
        for s in steps
    ):
        return ".".join(["self", *steps])
    return by_path(path)


def by_path(path: str) -> str:
    """Return the same without any attribute, which of a module takes a microsecond or two."""
    return f"self.part({quoted(path)})"
