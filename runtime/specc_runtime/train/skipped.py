"""What an optimizer does to a table's row in the steps whose batches do not name it.

In such a step the row's gradient is 0, so that the update is known in advance: momentum and second
moments decay by a constant factor, weight decay shrinks the weight, and momentum goes on moving it. A
history records what each step has in common for all rows (the learning rate), and brings a row up to date
over any number of steps at a cost that does not depend on that number. What is common is kept in double
precision; what is left out is below the resolution of the weights' type.

An index into a history is a number of its steps: a row that is up to date after the first 5 has index 5.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from specc_runtime.devices import transfer
from specc_runtime.native import rows as native_rows

# Steps in one history. When it is full, all rows are brought up to date and a new one begins.
LENGTH = 2**16
_BLOCK = 2**8

# Relative size below which a summand is lost to rounding; denormals would be slow to compute with.
_NOTHING = 2.0**-64


class Products:
    """Products of the steps' matrices [k, k]: for each step the product from it to the newest.

    Two levels: products within a block of steps, and products of whole blocks. Adding a step changes the
    products of its own block, and one product for each block before it.
    """

    def __init__(self, k: int, device: torch.device) -> None:
        self.inner = torch.eye(k, dtype=torch.float64, device=device).repeat(_BLOCK, 1, 1)
        # The last one stays as it is.
        self.outer = torch.eye(k, dtype=torch.float64, device=device).repeat(LENGTH // _BLOCK + 2, 1, 1)
        self.count = 0

    def _grow(self) -> None:
        while self.count // _BLOCK * _BLOCK + _BLOCK >= len(self.inner):
            self.inner = torch.cat([self.inner, self.outer[-1:].expand_as(self.inner)])

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "inner": self.inner[: self.count + 1].clone(), "outer": self.outer}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        self._grow()
        self.inner[: self.count + 1] = state["inner"]
        self.outer.copy_(state["outer"])

    def note(self, matrix: Tensor) -> None:
        self._grow()
        begin = self.count // _BLOCK * _BLOCK
        block = self.inner[begin : self.count + 1]
        block.copy_(matrix @ block)
        before = self.outer[: begin // _BLOCK]
        before.copy_(matrix @ before)
        self.count += 1

    def since(self, index: Tensor) -> Tensor:
        """Return the products of the matrices after the steps of some indices, newest first: [n, k, k] of
        int64 [n].
        """
        block = index.div(_BLOCK, rounding_mode="floor")
        return self.outer[block] @ self.inner[index]


class Linear:
    """Optimizers whose step is linear in a weight and its velocity; their other states decay.

    held: the weight [n, w], its velocity if there is one, and a state for each of `factors`.
    """

    def __init__(self, velocity: bool, factors: Sequence[float], device: torch.device) -> None:
        self.velocity = velocity
        self.settings = tuple(factors)
        self.device = device
        self._factors = torch.tensor(self.settings, dtype=torch.float64, device="cpu")
        self.products = Products(2 if velocity else 1, device)
        # Whether any step so far had weight decay, and whether one added the weight to the velocity.
        self.decays = self.feeds = False
        self.steps = 0

    def state(self) -> dict[str, Any]:
        return {
            "made": {"velocity": self.velocity, "factors": list(self.settings)},
            "is": {"decays": self.decays, "feeds": self.feeds, "steps": self.steps},
            "products": self.products.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state["is"])
        self.products.restore(state["products"])

    def note(self, matrix: Sequence[Sequence[float]]) -> None:
        """Record a step: how (weight, velocity), or the weight alone, is transformed."""
        self.decays |= matrix[0][0] != 1.0
        self.feeds |= self.velocity and matrix[1][0] != 0.0
        self.products.note(transfer(torch.tensor(matrix, dtype=torch.float64, device="cpu"), self.device))
        self.steps += 1

    def in_c(self) -> native_rows.Linear:
        """For the kernel; valid while the history is as it is."""
        inner, outer = self.products.inner.data_ptr(), self.products.outer.data_ptr()
        return native_rows.Linear(self.steps, _BLOCK, inner, outer, self._factors.data_ptr())

    def groups(self, rows: Tensor, since: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield rows, since

    def move(self, since: Tensor, *held: Tensor) -> None:
        """Bring rows up to date from an index each, int64 [n], in place."""
        weight, *others = held
        if self.velocity:
            velocity, *others = others
        if self.velocity or self.decays:
            total = self.products.since(since)
            own = (total[:, 0, 0] - 1).to(weight.dtype).unsqueeze(1)
        if self.velocity:
            gives = total[:, 0, 1].to(weight.dtype).unsqueeze(1)
            kept = _visible(total[:, 1, 1]).to(weight.dtype).unsqueeze(1)
            moved = velocity * kept
            if self.feeds:
                moved.addcmul_(weight, total[:, 1, 0].to(weight.dtype).unsqueeze(1))
            if self.decays:
                weight.addcmul_(weight, own)
            weight.addcmul_(velocity, gives)
            velocity.copy_(moved)
        elif self.decays:
            weight.addcmul_(weight, own)
        for factor, state in zip(self.settings, others, strict=True):
            state.mul_(_power(factor, self.steps - since).to(state.dtype).unsqueeze(1))


class Moments:
    """Adam without gradient: what its first moment goes on doing to weight, mean and square [n, w].

    In step j after index s the weight moves by m times

        c / (r a + eps),  c = lr b1^j / (1 - b1^(s+j)),  r = sqrt(b2^j / (1 - b2^(s+j))),  a = sqrt(v).

    The sum over j is wanted for every a. As a function of log r the fraction has no singularity closer
    than pi to the real axis, whatever a is; so it is interpolated by a polynomial in a few Chebyshev
    points of log r, and the sum over j becomes a sum over these points. For each index the coefficient of
    each point is kept; a step adds to those of the last `window` indices, before which c is negligible.
    """

    def __init__(
        self, betas: tuple[float, float], eps: float, begin: int, precise: bool, device: torch.device
    ) -> None:
        self.settings = (*betas, eps)
        self.begin, self.device = begin, device
        self.error = 1e-14 if precise else 1e-8
        self.window = _window(betas, self.error)
        j = torch.arange(self.window, 0, -1, dtype=torch.float64, device=device)
        self._mean = torch.pow(torch.tensor(betas[0], dtype=torch.float64, device=device), j)
        self._log = j * (math.log(betas[1]) / 2)
        # While the square is still being corrected for its start, r differs much between steps: until index
        # `late` it takes more points.
        many, few = (_points(betas, s, self.error) for s in (begin, 2**40))
        self.points = (many, min(few + 1, many))
        self.late = bisect_left(
            range(LENGTH), -self.points[1], key=lambda s: -_points(betas, begin + s, self.error)
        )
        self._values = [_values(count, device) for count in self.points]
        self._order = torch.arange(self.points[0], dtype=torch.float64, device=device)
        self.shares = torch.zeros(0, self.points[0], dtype=torch.float64, device=device)
        self._middle = self._half = torch.zeros(0, dtype=torch.float64, device=device)
        self._nodes = torch.zeros(0, self.points[0], dtype=torch.float64, device=device)
        self._powers: list[Tensor] = []
        self.decay = Products(1, device)
        self.decays = False
        self.steps = 0
        self._grow(_BLOCK)

    def state(self) -> dict[str, Any]:
        *betas, eps = self.settings
        made = {"betas": betas, "eps": eps, "begin": self.begin, "precise": self.error < 1e-8}
        return {
            "made": made,
            "is": {"decays": self.decays, "steps": self.steps},
            "products": self.decay.state(),
            "shares": self.shares[: self.steps + 1].clone(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state["is"])
        self.decay.restore(state["products"])
        while self.steps + 1 >= len(self.shares):
            self._grow(2 * len(self.shares))
        self.shares[: self.steps + 1] = state["shares"]

    def note(self, lr: float, weight_decay: float = 0.0) -> None:
        """Record a step: its learning rate, and which multiple of it is the weight decay."""
        first, second, _ = self.settings
        now = self.begin + self.steps + 1
        kept = 1 - lr * weight_decay
        if kept != 1.0 or self.decays:
            if not self.decays:
                self.decays = True
                self.decay.count = self.steps  # so far it did nothing
            self.decay.note(torch.full((1, 1), kept, dtype=torch.float64, device=self.device))
        low, high = max(self.steps + 1 - self.window, 0), self.steps + 1
        middle = min(max(self.late, low), high)
        moved = lr / (1 - first**now)
        for start, stop, count, values in zip(
            (low, middle), (middle, high), self.points, self._values, strict=True
        ):
            if start == stop:
                continue
            some = slice(start - high + self.window, stop - high + self.window)
            log = self._log[some] - 0.5 * math.log1p(-(second**now))
            place = log.sub_(self._middle[start:stop]).div_(self._half[start:stop]).clamp_(-1, 1)
            found = torch.cos_(place.acos_().unsqueeze(1) * self._order[:count]) @ values
            shares = self.shares[start:stop, :count]
            if kept != 1.0:
                shares.mul_(kept)
            shares.addcmul_(found, self._mean[some].unsqueeze(1), value=moved)
        self.steps += 1
        if self.steps + 1 >= len(self.shares):
            self._grow(2 * len(self.shares))

    def _grow(self, size: int) -> None:
        """Allocate space for so many indices."""
        first, second, _ = self.settings
        skipped = torch.arange(size, dtype=torch.float64, device=self.device)
        self._powers = [_power(base, skipped) for base in (first, second)]
        fresh = torch.zeros(size, self.points[0], dtype=torch.float64, device=self.device)
        fresh[: len(self.shares)] = self.shares
        self.shares = fresh
        s = torch.arange(size, dtype=torch.float64, device=self.device) + self.begin
        top, bottom = (
            j * (math.log(second) / 2) - 0.5 * torch.log1p(-(second ** (s + j))) for j in (1, self.window)
        )
        self._middle, self._half = (top + bottom) / 2, ((top - bottom) / 2).clamp_(min=1e-12)
        # Where there are fewer points, the others have no share.
        self._nodes = torch.ones_like(self.shares)
        for some, count in zip((slice(self.late), slice(self.late, None)), self.points, strict=True):
            log = torch.outer(self._half[some], _roots(count, self.device)) + self._middle[some].unsqueeze(1)
            self._nodes[some, :count] = torch.exp(log)

    def in_c(self) -> native_rows.Moments:
        """For the kernel; valid while the history is as it is."""
        products = (self.decay.inner, self.decay.outer) if self.decays else ()
        return native_rows.Moments(
            self.steps, self.shares.shape[1], self.late, *self.points, _BLOCK, self.window,
            *(x.data_ptr() for x in (self.shares, self._nodes, *self._powers)),
            *((x.data_ptr() for x in products) if products else (None, None)),
            self.settings[2],
        )  # fmt: skip

    def groups(self, rows: Tensor, since: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the rows by how many points their sums take."""
        if self.points[0] == self.points[1] or rows.device.type != "cpu":
            yield rows, since
            return
        early = since < self.late
        for some in (early, ~early):
            if bool(some.any()):
                yield rows[some], since[some]

    def move(self, since: Tensor, weight: Tensor, mean: Tensor, square: Tensor) -> None:
        """Bring rows up to date from an index each, int64 [n], in place."""
        first, second, eps = self.settings
        on_cpu = weight.device.type == "cpu"
        late = on_cpu and bool(since.min() >= self.late)
        count, nodes = self.points[late], self._nodes.index_select(0, since)
        share = self.shares.index_select(0, since)[:, :count]
        if self.decays:
            ended = (since + self.window).clamp_(max=self.steps)
            share *= self.decay.since(ended)[:, :, 0]
            own = (self.decay.since(since)[:, :, 0] - 1).to(weight.dtype)
            weight.addcmul_(weight, own)
        nodes, share = nodes.to(weight.dtype), share.to(weight.dtype)
        root = square.sqrt()
        total = torch.zeros_like(root)
        for number in range(count):
            total.addcdiv_(share[:, number : number + 1], (root * nodes[:, number : number + 1]).add_(eps))
        weight.addcmul_(mean, total, value=-1)
        skipped = self.steps - since
        mean.mul_(_power(first, skipped).to(mean.dtype).unsqueeze(1))
        square.mul_(_power(second, skipped).to(square.dtype).unsqueeze(1))


History = Linear | Moments


def restored(state: Mapping[str, Any], device: torch.device) -> History:
    """Return a history from its saved state."""
    made = state["made"]
    found: History
    if "betas" in made:
        found = Moments(tuple(made["betas"]), made["eps"], made["begin"], made["precise"], device)
    else:
        found = Linear(made["velocity"], made["factors"], device)
    found.restore(state)
    return found


def without_closed_form(name: str, options: Mapping[str, Any]) -> str | None:
    """Return why skipped steps of an optimizer cannot be carried out later in one go; None if they can.

    options: by torch's names, those that are not the defaults.
    """
    if options.get("weight_decay") and name in ("adam", "adagrad", "rmsprop", "adadelta"):
        return f"{name} with weight_decay moves every row by what was, in no closed form (adamw has one)"
    for option in ("amsgrad", "maximize", "decoupled_weight_decay", "capturable", "differentiable"):
        if options.get(option):
            return f"{name} with {option} moves every row in no closed form that is known here"
    if name in ("adam", "adamw"):
        betas = options.get("betas", (0.9, 0.999))
        if not 0 <= betas[0] < 1 or not 0 < betas[1] < 1 or _window(betas, 1e-8) > 4096:
            return f"{name} with beta1 = {betas[0]:g} and beta2 = {betas[1]:g} remembers for too long"
        if _points(betas, 1, 1e-8) > 48:
            return f"{name} with beta1 = {betas[0]:g} and beta2 = {betas[1]:g} forgets squares too fast"
    return None


def _window(betas: tuple[float, float], error: float) -> int:
    """Return after how many steps the contribution of a decaying mean is negligible."""
    shrinks = betas[0] / math.sqrt(betas[1])
    if shrinks >= 1:
        return 2**31
    return 1 if shrinks == 0 else max(math.ceil(math.log(error / 100) / math.log(shrinks)), 1)


def _points(betas: tuple[float, float], s: int, error: float) -> int:
    """Return how many Chebyshev points the sum after step s takes."""
    window, second = _window(betas, error), betas[1]
    ends = [j * math.log(second) / 2 - 0.5 * math.log1p(-(second ** (s + j))) for j in (1, window)]
    half = (ends[0] - ends[1]) / 2
    if half < 1e-9:
        return 1
    # The Bernstein ellipse through the singularity at a distance of pi bounds the error.
    ellipse = math.pi / half + math.hypot(1, math.pi / half)
    return math.ceil(math.log(1 / error) / math.log(ellipse)) + 1


def _roots(count: int, device: torch.device) -> Tensor:
    """Return the Chebyshev points of a degree."""
    q = torch.arange(count, dtype=torch.float64, device=device)
    return torch.cos((2 * q + 1) * (math.pi / (2 * count)))


def _values(count: int, device: torch.device) -> Tensor:
    """Return the matrix [count, count] from the values of the first `count` Chebyshev polynomials to the
    Lagrange polynomials, each of which is 1 at one point and 0 at the others.
    """
    k = torch.arange(count, dtype=torch.float64, device=device).unsqueeze(1)
    found = torch.cos(k * torch.acos(_roots(count, device))) * (2 / count)
    found[0] /= 2
    return found


def _power(base: float, exponent: Tensor) -> Tensor:
    """Return powers of a number from 0 to 1 in double precision; 0 where they underflow."""
    return _visible(torch.pow(torch.full((), base, dtype=torch.float64, device=exponent.device), exponent))


def _visible(factors: Tensor) -> Tensor:
    return torch.where(factors.abs() < _NOTHING, 0.0, factors)
