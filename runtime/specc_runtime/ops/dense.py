"""Operations along static axes, which are plain dimensions, and over channels.

`where` is a boolean mask with the dimensions of x: positions at which it is False do not count.

Promises: over nothing the result is 0 and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import functional as F

from specc_runtime.native import pairs as native
from specc_runtime.native import products
from specc_runtime.native.say import wanted
from specc_runtime.ops.autocast import lowers


def concat(*parts: Tensor) -> Tensor:
    """Return channels side by side; all other dimensions broadcast."""
    shape = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)


def stack(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Return values along a new dimension `dim`; their own dimensions broadcast."""
    return torch.stack(torch.broadcast_tensors(*parts), dim)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of products over channels: [..., w] and [..., w] to [..., 1]. If each of the two has a
    dimension that the other lacks, it is computed as a matrix product."""
    if _crossed(a, b):
        return contract(a, b, channels=True)
    return (a * b).sum(-1, keepdim=True)


def contract(a: Tensor, b: Tensor, *dims: int, channels: bool = False) -> Tensor:
    """Return the sum of products over some dimensions, which are removed, and over channels, which become
    one; all dimensions broadcast. It is computed as batched matrix products: the batch is what both have and
    keep."""
    every = list(range(a.dim()))
    summed = [*dims, a.dim() - 1] if channels else dims
    found = torch.einsum(a, every, b, every, [dim for dim in every if dim not in summed])
    return found.unsqueeze(-1) if channels else found


def _crossed(a: Tensor, b: Tensor) -> bool:
    """Return whether each of the two has a dimension that the other lacks."""
    pairs = list(zip(a.shape, b.shape, strict=True))
    return any(m > 1 == n for m, n in pairs[:-1]) and any(m == 1 < n for m, n in pairs[:-1])


def bernoulli(p: Tensor, training: bool) -> Tensor:
    """Return, in training, 1 with probability p, else 0, without a gradient; in evaluation p itself."""
    return (torch.rand_like(p) < p).to(p) if training else p


def pairs(x: Tensor, dim: int, in_c_from: int | None = None) -> Tensor:
    """Return x_i * x_j for all i < j along a dimension, in the order (0,1), (0,2), ..., (1,2), ... in_c_from:
    from how many numbers in the result on the kernel in C is used, if at all."""
    count = x.shape[dim]
    numbers = x.numel() * (count - 1) // 2
    if in_c_from is not None and numbers >= in_c_from and not is_compiling():
        found = native.pairs(x, dim) if wanted(x.device, x.dtype) else None
        if found is not None:
            return found
    i, j = torch.triu_indices(x.shape[dim], x.shape[dim], 1, device=x.device)
    return x.index_select(dim, i) * x.index_select(dim, j)


def firsts(x: Tensor, dim: int) -> Tensor:
    """Return x_i for all i < j along a dimension, in the order of `pairs`."""
    return x.index_select(dim, torch.triu_indices(x.shape[dim], x.shape[dim], 1, device=x.device)[0])


def seconds(x: Tensor, dim: int) -> Tensor:
    """Return x_j for all i < j along a dimension, in the order of `pairs`."""
    return x.index_select(dim, torch.triu_indices(x.shape[dim], x.shape[dim], 1, device=x.device)[1])


def top(x: Tensor, score: Tensor, dim: int, k: int) -> Tensor:
    """Return the k positions of highest score along a dimension, best first; of equal scores the earlier
    position."""
    order = torch.argsort(score.detach(), dim=dim, descending=True, stable=True)
    x, order = _sharing(x, order.narrow(dim, 0, k), dim)
    return x.gather(dim, order)


def append(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return y after x along a dimension; the others broadcast."""
    return torch.cat(_sharing(x, y, dim), dim)


def _sharing(x: Tensor, y: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return both with all dimensions broadcast but one."""
    shape = list(torch.broadcast_shapes(_without(x, dim), _without(y, dim)))
    return _over(x, shape, dim), _over(y, shape, dim)


def _without(x: Tensor, dim: int) -> torch.Size:
    return x.shape[:dim] + x.shape[dim + 1 :]


def _over(x: Tensor, shape: list[int], dim: int) -> Tensor:
    return x.expand(*shape[:dim], x.shape[dim], *shape[dim:])


def sum(x: Tensor, dim: int, where: Tensor) -> Tensor:
    return torch.where(where, x, 0).sum(dim)


def mean(x: Tensor, dim: int, where: Tensor) -> Tensor:
    x, where = torch.broadcast_tensors(x, where)
    return sum(x, dim, where) / where.to(x.dtype).sum(dim).clamp(min=1)


def max(x: Tensor, dim: int, where: Tensor) -> Tensor:
    return torch.where(where.any(dim), torch.where(where, x, -torch.inf).amax(dim), 0)


def min(x: Tensor, dim: int, where: Tensor) -> Tensor:
    return torch.where(where.any(dim), torch.where(where, x, torch.inf).amin(dim), 0)


def last(x: Tensor, dim: int, where: Tensor) -> Tensor:
    x, where = torch.broadcast_tensors(x, where)
    size = x.shape[dim]
    return _at(x, dim, where, size - 1 - where.flip(dim).to(torch.uint8).argmax(dim, keepdim=True))


def first(x: Tensor, dim: int, where: Tensor) -> Tensor:
    x, where = torch.broadcast_tensors(x, where)
    return _at(x, dim, where, where.to(torch.uint8).argmax(dim, keepdim=True))


def _at(x: Tensor, dim: int, where: Tensor, position: Tensor) -> Tensor:
    return torch.where(where.any(dim), x.gather(dim, position).squeeze(dim), 0)


def softmax(x: Tensor, dim: int, where: Tensor | None = None) -> Tensor:
    """Return exp(x) / sum exp(x) along a dimension, which is not the channels'; 0 where `where` is False."""
    if where is None:
        # Along the last dimension torch goes through memory in order: four times as quick.
        return x.squeeze(-1).softmax(dim).unsqueeze(-1) if x.shape[-1] == 1 else x.softmax(dim)
    x = torch.where(where, x, -torch.inf)
    largest = x.detach().amax(dim, keepdim=True)
    parts = torch.exp(x - torch.where(largest == -torch.inf, 0, largest))
    total = parts.sum(dim, keepdim=True)
    return parts / torch.where(total == 0, 1, total)


def log_softmax(x: Tensor, dim: int, where: Tensor) -> Tensor:
    """Return the logarithm of `softmax`; 0 where `where` is False."""
    x, where = torch.broadcast_tensors(x, where)
    return torch.where(where, x - logsumexp(x, dim, where).unsqueeze(dim), 0)


def cumsum(x: Tensor, dim: int, where: Tensor) -> Tensor:
    """Return at each position the sum up to and with it, of positions where `where` is True."""
    return torch.where(where, x, 0).cumsum(dim)


def logsumexp(x: Tensor, dim: int, where: Tensor) -> Tensor:
    """Return the logarithm of the sum of exp(x) along a dimension; 0 over nothing."""
    there = where.any(dim)
    # If every position is masked it is ignored, and the result replaced: -inf everywhere would give NaN.
    kept = torch.where(where | ~there.unsqueeze(dim), x, -torch.inf)
    found = log_of_sum(kept, dim) if torch.compiler.is_exporting() else torch.logsumexp(kept, dim)
    return torch.where(there, found, 0)


def log_of_sum(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Return what torch.logsumexp does of a dimension that is not empty, by functions that ask for no size:
    torch.export does not know all."""
    largest = x.detach().amax(dim, keepdim=True)
    largest = torch.where(largest.isinf(), 0, largest)
    found = torch.exp(x - largest).sum(dim, keepdim=True).log() + largest
    return found if keepdim else found.squeeze(dim)


def bce(logit: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross entropy at each position, with the target between 0 and 1."""
    logit, target = torch.broadcast_tensors(logit, target)
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over channels of the squared difference: [..., 1]."""
    return ((a - b) ** 2).mean(-1, keepdim=True)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(logits) at the class index `target` [..., 1]: [..., 1]."""
    chances = F.log_softmax(logits, -1)
    shape = torch.broadcast_shapes(chances.shape[:-1], target.shape[:-1])
    return -chances.expand(*shape, -1).gather(-1, target.expand(*shape, 1).long())


def linear(
    x: Tensor,
    matrix: Tensor,
    bias: Tensor | None = None,
    then: str = "",
    slope: float = 0.0,
    in_c_from: int | None = None,
) -> Tensor:
    """Return x [..., in] times a matrix [out, in], plus a bias [out], and of that `then`: [..., out].

    then: "relu", "leaky_relu" with a slope, "sigmoid" or "tanh". in_c_from: from how many multiplications on
    the kernel in C is used, if at all.
    """
    if products.worth(x, matrix, in_c_from):
        found = products.product(x, matrix, bias, then, slope)
        if found is not None:
            return found
    return _followed(F.linear(x, matrix, bias), then, slope)


def add_product(
    total: Tensor,
    x: Tensor,
    matrix: Tensor,
    then: str = "",
    slope: float = 0.0,
    in_c_from: int | None = None,
) -> Tensor:
    """Add x [rows, in] times a matrix [out, in] to total [rows, out], and return of that `then`, as `linear`
    does; in place."""
    if lowers(x):
        return _followed(total + F.linear(x, matrix), then, slope)
    if products.worth(x, matrix, in_c_from):
        found = products.added(total, x, matrix, then, slope)
        if found is not None:
            return found
    return _followed(torch.Tensor.addmm_(total, x, matrix.t()), then, slope)


def _followed(x: Tensor, then: str, slope: float) -> Tensor:
    """Write what follows a product over it."""
    if not then:
        return x
    return F.leaky_relu(x, slope, inplace=True) if then == "leaky_relu" else getattr(torch, f"{then}_")(x)
