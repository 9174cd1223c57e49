"""The image of runtime/Dockerfile, built by Buildah, which needs no daemon, and run as its own user.

AREC_IMAGE="--pull-never" pytest tests/serve/test_image.py    # minutes; options of `buildah build`
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.test_package import ROOT, TRAINED

NAME, PORT = "arec-serve-tested", 8437
ALONE = ("--isolation", "chroot", "--network", "host")  # no daemon, no cgroups
ABSENT = "specc", "lark", "duckdb", "gcc", "g++", "cc", "clang"
LOOK = f"""
import importlib.util, shutil
print([name for name in {ABSENT} if importlib.util.find_spec(name) or shutil.which(name)])
"""


def buildah(*words: Any) -> str:
    done = subprocess.run(["buildah", *map(str, words)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_and_ask(tmp_path: Path) -> None:
    buildah("build", *ALONE, *shlex.split(os.environ["AREC_IMAGE"]), "-t", NAME, ROOT / "runtime")
    entry = json.loads(buildah("inspect", "--type", "image", NAME))["OCIv1"]["config"]["Entrypoint"]
    shutil.copytree(TRAINED / "model", tmp_path / "model")
    for path in [tmp_path / "model", *(tmp_path / "model").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    container = buildah("from", "--pull-never", NAME).strip()
    try:
        assert buildah("run", *ALONE, container, "--", "python", "-c", LOOK) == "[]\n"
        volume = f"{tmp_path / 'model'}:/model:ro"
        words = ["buildah", "run", *ALONE, "-v", volume, container, "--", *entry, "--port", str(PORT)]
        with subprocess.Popen(words, start_new_session=True) as server:
            try:
                asked = (TRAINED / "requests.jsonl").read_bytes().splitlines()[0]
                found = answer(f"http://127.0.0.1:{PORT}/score", asked)
            finally:
                os.killpg(server.pid, signal.SIGTERM)
    finally:
        buildah("rm", container)
    wanted = json.loads((TRAINED / "scores.jsonl").read_text().splitlines()[0])["click"]
    assert found["click"] == pytest.approx(wanted, abs=1e-5)


def answer(url: str, asked: bytes) -> Any:
    for _ in range(100):
        try:
            return json.load(urlopen(url, data=asked, timeout=60))
        except OSError:
            time.sleep(1)
    raise AssertionError("the server does not answer")


if "AREC_IMAGE" in os.environ:

    def test_the_image_is_built_and_answers(tmp_path: Path) -> None:
        build_and_ask(tmp_path)
