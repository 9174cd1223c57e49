#!/bin/sh
# One GPU beside all of a machine's: how many examples a second DIN and BST learn from, by `specc train` alone and
# under torchrun with as many processes as there are GPUs (and with 2), at the same number of examples a process.
#
#   bench/gpu_ranks.sh                 on a machine with several GPUs, in the project's folder
#   TABLES=sharded bench/gpu_ranks.sh  with tables that TorchRec divides (it takes fbgemm-gpu, not its CPU build)
#   DEVICE=cpu STEPS=20 bench/gpu_ranks.sh    shows that it runs: two processes on a CPU
#
# Prints a line of JSON a training: {"model", "processes", "batch", "examples_per_second"}, the median of what
# metrics.jsonl tells but for the first half, in which kernels are built and memory is found.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
DEVICE=${DEVICE:-auto}
STEPS=${STEPS:-400}
EACH=${EACH:-4096}  # examples a process in a step
export PYTHONPATH="$PWD:$PWD/runtime${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
gpus=$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')
many=$([ "$gpus" -gt 1 ] && echo "$gpus" || echo 2)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for model in din bst; do
    for count in $(printf '1\n2\n%s\n' "$many" | sort -nu); do
        batch=$((EACH * count))
        "$PYTHON" -m bench.ranks_data "$model" "$folder/$model.parquet" $((EACH * STEPS))
        run="-m specc train specs/$model.arec $folder/$model.parquet -o $folder/$model-$count
             --batch $batch --epochs 1 --device $DEVICE --overwrite ${TABLES:+--tables $TABLES}"
        if [ "$count" = 1 ]; then
            "$PYTHON" $run >/dev/null
        else
            "$PYTHON" -m torch.distributed.run --nproc-per-node "$count" $run >/dev/null
        fi
        "$PYTHON" - "$folder/$model-$count/metrics.jsonl" "$model" "$count" "$batch" <<'PY'
import json
import statistics
import sys

path, model, count, batch = sys.argv[1:]
told = [json.loads(line) for line in open(path)]
speeds = [line["speed"] for line in told if line["kind"] == "train"]
speed = statistics.median(speeds[len(speeds) // 2 :])
print(json.dumps({"model": model, "processes": int(count), "batch": int(batch), "examples_per_second": round(speed)}))
PY
    done
done
