"""Loading a placed model where its devices are, or are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import specc
from specc.devices import Placement
from specc.driver import compiled
from specc.report import Report
from specc.testing.batches import random_batch
from specc_runtime import DeviceError, Model, load, save
from specc_runtime.devices import available, resolve

SPEC = """model small
table items = vocab(50, 4)
space user from request { id: vocab(20, 4), age: number(standard) }
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
joined = concat(user, ad, sum(history, over t))
predict click: binary = joined |> linear(8) |> relu |> linear(1)
"""
PLACED = (
    SPEC
    + """
device host = "cpu"
device dense = "cuda:7"
device other = "xpu:1"
place items on host
place joined on other
place rest on dense
"""
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model that was placed on devices which no test machine has."""
    spec = tmp_path / "small.arec"
    spec.write_text(PLACED)
    model = specc.compile(spec, placement=Placement(everywhere="cpu"))
    texts = compiled(spec, "default", None, {}, Report())
    assert texts is not None
    model.files = dict(texts.texts)
    save(model, tmp_path / "model")
    return tmp_path / "model"


def outputs(model: Model) -> dict[str, Tensor]:
    return model(random_batch(model.manifest, 3, 1))


def test_an_absent_device_is_named_with_the_override_that_helps(directory: Path) -> None:
    with pytest.raises(DeviceError) as fault:
        load(directory)
    text = str(fault.value)
    assert "device `dense` is cuda:7, and this machine has only cpu" in text
    assert f"`--device dense={available()[-1]}`" in text
    assert "`--device auto`" in text
    # Every absent device, not only the first.
    assert "device `other` is xpu:1" in text


def test_auto_takes_what_there_is(directory: Path) -> None:
    model = load(directory, "auto")
    best = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    assert {p.device.type for p in model.parameters()} == {best.type}


def test_overrides_by_name(directory: Path) -> None:
    with pytest.raises(DeviceError, match="device `other` is xpu:1"):
        load(directory, {"dense": "cpu"})
    model = load(directory, {"dense": "cpu", "other": "cpu"})
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert torch.isfinite(outputs(model)["click"]).all()


def test_a_name_that_the_model_does_not_have(directory: Path) -> None:
    with pytest.raises(DeviceError, match=r"no device `dens`; it has host, dense, other"):
        load(directory, {"dens": "cpu", "dense": "cpu", "other": "cpu"})


def test_everywhere_the_same_values(directory: Path, tmp_path: Path) -> None:
    model = load(directory, "cpu")
    spec = tmp_path / "plain.arec"
    spec.write_text(SPEC)
    plain = specc.compile(spec)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(outputs(model), outputs(plain))


def test_a_model_without_places_goes_where_it_is_told(tmp_path: Path) -> None:
    spec = tmp_path / "plain.arec"
    spec.write_text(SPEC)
    save(specc.compile(spec), tmp_path / "plain")
    assert {p.device.type for p in load(tmp_path / "plain", "cpu").parameters()} == {"cpu"}
    with pytest.raises(DeviceError, match="is not a device of this machine, which has cpu"):
        load(tmp_path / "plain", "cuda:9")
    with pytest.raises(DeviceError, match="one device, not on cpu, meta"):
        load(tmp_path / "plain", {"a": "cpu", "b": "meta"})


def test_compiling_says_it_as_well(tmp_path: Path) -> None:
    spec = tmp_path / "small.arec"
    spec.write_text(PLACED)
    with pytest.raises(DeviceError, match="device `dense` is cuda:7"):
        specc.compile(spec)


@pytest.mark.parametrize("target", ["gpu", "cuda:999", "tpu:1", ""])
def test_what_is_no_device_of_this_machine(target: str) -> None:
    with pytest.raises(DeviceError, match="use `--device dense="):
        resolve({"dense": target})


def test_devices_by_name() -> None:
    found = resolve({"host": "cpu", "dense": "auto", "far": "cuda:3"}, {"far": "cpu"})
    assert found["host"] == found["far"] == torch.device("cpu")
    assert found["dense"].type == available()[-1].partition(":")[0]
