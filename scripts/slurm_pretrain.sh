#!/usr/bin/env bash
# Pre-trains over several machines: sbatch [--nodes=2 ...] scripts/slurm_pretrain.sh [config.KEY=VALUE ...]
# METHOD=shotcol in the environment picks another method; SLURM starts one task per GPU, as Lightning wants it.
#SBATCH --job-name=bassl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
set -euo pipefail
# SLURM runs a copy of this file from its spool folder; where it was submitted from, and as what, leads back here.
command="$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\(.*slurm_pretrain\.sh\).*/\1/p')"
root="$(cd -- "$SLURM_SUBMIT_DIR" && CDPATH='' cd -- "$(dirname -- "$command")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"

exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    "${PYTHON:-python3}" "$root/bassl/pretrain/main.py" \
    +method="${METHOD:-bassl}" \
    config.EXPR_NAME="${METHOD:-bassl}" \
    config.DISTRIBUTED.NUM_NODES="$SLURM_JOB_NUM_NODES" \
    config.DISTRIBUTED.NUM_PROC_PER_NODE="$SLURM_NTASKS_PER_NODE" \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    "$@"
