#!/usr/bin/env bash
# Pre-trains over several machines: sbatch [--nodes=2 ...] scripts/slurm_pretrain.sh [config.KEY=VALUE ...]
# METHOD=shotcol in the environment picks another method; SLURM starts one task per GPU, as Lightning wants it.
# Five minutes before the time limit, and when the job is preempted, the run saves itself, goes back into the queue and
# continues there; after scancel or an error, `sbatch scripts/slurm_pretrain.sh config.RESUME=true` resumes.
#SBATCH --job-name=bassl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
: "${SLURM_JOB_ID:?is set by SLURM; start this by sbatch, or on a machine of your own scripts/run_pretrain_bassl.sh}"
# SLURM runs a copy of this file from its spool folder; where it was submitted from, and as what, leads back here.
command="$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\(.*slurm_pretrain\.sh\).*/\1/p')"
root="$(cd -- "$SLURM_SUBMIT_DIR" && CDPATH='' cd -- "$(dirname -- "$command")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
# Rank zero runs on this machine, and all meet at a port where nothing listens yet.
export MASTER_PORT="${MASTER_PORT:-$((15000 + SLURM_JOB_ID % 10000))}"
while (: <"/dev/tcp/127.0.0.1/$MASTER_PORT") 2>/dev/null; do MASTER_PORT=$((MASTER_PORT + 1)); done
# Without config.SEED all processes draw from this one; a resumed run keeps its own.
export BASSL_SEED="${BASSL_SEED:-$((RANDOM << 15 | RANDOM))}"
# A requeued job resumes; a new one starts afresh.
resume=$([ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && echo true || echo false)

exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
    "${PYTHON:-python3}" "$root/bassl/pretrain/main.py" \
    +method="${METHOD:-bassl}" \
    config.EXPR_NAME="${METHOD:-bassl}" \
    config.DISTRIBUTED.NUM_NODES="$SLURM_JOB_NUM_NODES" \
    config.DISTRIBUTED.NUM_PROC_PER_NODE="$SLURM_NTASKS_PER_NODE" \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
    config.RESUME="$resume" \
    "$@"
