"""Buffers on devices: how many bytes are held now, and the most that were."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Buffer:
    device: str
    bytes: float
    holders: int = 0


@dataclass
class Memory:
    """What is held on each device, and the most that was."""

    now: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def hold(self, buffer: Buffer) -> Buffer:
        if not buffer.holders:
            self.now[buffer.device] = self.now.get(buffer.device, 0.0) + buffer.bytes
            self._mark(buffer.device, 0.0)
        buffer.holders += 1
        return buffer

    def release(self, buffer: Buffer) -> None:
        buffer.holders -= 1
        if not buffer.holders:
            self.now[buffer.device] -= buffer.bytes

    def need(self, device: str, bytes_: float) -> None:
        """Note bytes that are needed for a moment."""
        self._mark(device, bytes_)

    def _mark(self, device: str, more: float) -> None:
        there = self.now.get(device, 0.0) + more
        self.peak[device] = max(self.peak.get(device, 0.0), there)
