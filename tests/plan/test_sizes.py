"""Sizes and devices as people write them."""

from __future__ import annotations

import pytest

from specc.plan.sizes import Device, SizeError, devices, human, size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("80GB", 80 * 10**9),
        ("24GiB", 24 * 2**30),
        ("1.5 TB", 1_500_000_000_000),
        ("512mb", 512 * 10**6),
        ("64KiB", 65536),
        ("100B", 100),
        ("1_000MB", 10**9),
    ],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(
    "text", ["", "80", "80GX", "GB", "-1GB", "1.2.3GB", "5iB", "80 G B", "inf GB", "٣GB x"]
)
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(SizeError, match="80GB, 24GiB"):
        size(text)


def test_devices() -> None:
    found = devices("cuda:0=80GB, cuda:1=24GiB,cpu=256GB")
    assert found == [
        Device("cuda:0", 80 * 10**9),
        Device("cuda:1", 24 * 2**30),
        Device("cpu", 256 * 10**9),
    ]
    assert [d.accelerator for d in found] == [True, True, False]


def test_every_fault_of_devices_is_told() -> None:
    with pytest.raises(SizeError) as fault:
        devices("cuda:0=80XB,gpu:1=1GB,cpu,cuda:2=0GB,mps=1GB,mps=1GB")
    for part in ("80XB", "gpu:1", "cpu=80GB", "cuda:2 has no memory", "mps is there twice"):
        assert part in str(fault.value)


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0"), (12, "12 B"), (4096, "4.1 kB"), (999_700, "1 MB"), (80e9, "80 GB"), (1.234e12, "1.23 TB")],
)
def test_sizes_for_people(bytes_: float, text: str) -> None:
    assert human(bytes_) == text
