"""The optimizer of a recipe under Lightning: it is the dense one there too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from specc_runtime.layers import Table
from specc_runtime.ops import embed
from specc_runtime.train.lazy import build_optimizer

lightning = pytest.importorskip("lightning", reason="the extra `lightning` is not installed")


def trained(tables: str, steps: int, folder: Path, resume: bool = False) -> nn.Module:
    class Toy(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.items = Table(60, 4, init=("normal", 1.0))
            self.out = nn.Linear(4, 1)

        def training_step(self, ids: Tensor, number: int) -> Tensor:
            loss: Tensor = self.out(embed(self.items.weight, ids)).tanh().sum()
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = build_optimizer(self, "adamw", {"lr": 0.01, "weight_decay": 0.1}, tables)
            schedule = lr_scheduler.ExponentialLR(optimizer, 0.98)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    torch.manual_seed(0)
    model = Toy().double()
    ids = torch.randint(0, 50, (30, 3), generator=torch.Generator().manual_seed(1))
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=None,
        default_root_dir=folder,
    )  # fmt: skip
    kept = folder / f"{tables}.ckpt"
    trainer.fit(
        model, torch.utils.data.DataLoader(list(ids), batch_size=None), ckpt_path=kept if resume else None
    )
    trainer.save_checkpoint(kept)
    model.eval()
    return model


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_steps_schedules_saves_and_resumes(tmp_path: Path) -> None:
    """What Lightning gives anew when it goes on, it gives to both."""
    for resume in (False, True):
        exact, dense = (
            trained(tables, 60 if resume else 25, tmp_path, resume) for tables in ("exact", "dense")
        )
        torch.testing.assert_close(exact.state_dict(), dense.state_dict(), rtol=1e-9, atol=1e-9)
