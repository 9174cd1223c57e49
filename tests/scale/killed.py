"""One of several processes that train is killed: what the others say, and what they leave."""

from __future__ import annotations

import time
from pathlib import Path

from specc_runtime.train import opened
from tests.scale.processes import ended, started
from tests.train.small import write_examples


def one_is_killed(folder: Path, spec: str, *flags: str) -> None:
    """Train a spec in two processes and kill one: the other ends with a sentence, the checkpoint is whole."""
    (folder / "small.arec").write_text(spec)
    data = write_examples(folder / "data")
    command = ["-m", "specc", "train", "small.arec", str(data / "train.parquet"), "-o", "out", "--every", "1"]
    first, second = started([*command, "--epochs", "1000", *flags], 2, cwd=folder)
    state = folder / "out" / "checkpoint" / "state.json"
    while not state.is_file() and first.poll() is None:
        pass
    second.kill()
    second.wait()
    time.sleep(0.3)
    first.terminate()  # as torchrun does, while the first waits whether another process tells why
    (code, _, err), _ = ended([first, second])
    assert code == 1
    assert "another process of this training has ended" in err or "stopped by a signal" in err
    assert "is whole. Go on with:\n  torchrun --nproc-per-node 2 -m specc train small.arec" in err
    assert "Traceback" not in err
    opened(folder / "out")  # compares every file with its hash
