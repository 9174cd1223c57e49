#!/bin/sh
# All that concerns an accelerator, in at most 8 minutes: the tests that need one (the seven against the CPU in
# value and gradient, and that no step waits for the card), then step times beside other libraries.
#
#   bench/gpu.sh                          on a machine with CUDA, in the project's folder
#   bench/gpu.sh --device cpu --quick     shows that it runs; what needs CUDA is skipped, and says so
#
# PYTHON is the interpreter that has the project, PEERS the one that has torch-rechub and FuxiCTR (see Makefile).
set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
PEERS=${PEERS:-.venv-peers/bin/python}
export PYTHONPATH="$PWD:$PWD/runtime${PYTHONPATH:+:$PYTHONPATH}"

"$PYTHON" - <<'PY'
import platform

import torch

has = torch.cuda.is_available()
print(f"torch {torch.__version__}, Python {platform.python_version()}, "
      + (torch.cuda.get_device_name() if has else "no CUDA: the tests that need it are skipped"))
PY
failed=0
timeout 210 "$PYTHON" -m pytest -q -p no:cacheprovider -rs tests/devices/test_accelerator.py || failed=$?
timeout 260 "$PYTHON" -m bench.gpu --peers "$PEERS" --save bench/results/gpu.json "$@"
timed=$?
[ $timed = 124 ] && echo "the time was over before all contenders were timed"
[ $failed = 0 ] || echo "TESTS FAILED ($failed)"
[ $failed = 0 ] && { [ $timed = 0 ] || [ $timed = 124 ]; }
