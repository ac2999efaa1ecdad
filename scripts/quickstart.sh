#!/usr/bin/env bash
# From key-frames to scenes on the sample film, in minutes on a CPU: bash scripts/quickstart.sh [fine-tuning config.KEY=VALUE ...]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.bash"
set_up_environment ""
film="$root/bassl/data/big_buck_bunny"
out="$root/outputs/quickstart"
small=(config.DATA_PATH="$film" config.TRANSFORM.test.resize=96 config.TRANSFORM.test.crop=96 config.TRAIN.NUM_WORKERS=1)
finetune=(python "$root/bassl/finetune/main.py" "${small[@]}"
    +config.PRETRAINED_LOAD_FROM=quickstart
    config.EXPR_NAME=quickstart
    config.SEED=0
    config.PRETRAINED_CKPT_PATH="$out/pretrain/ckpt"
    config.FEATURE_PATH="$out/features"
    config.CKPT_PATH="$out/finetune/ckpt"
    config.LOG_PATH="$out/finetune/logs"
    config.TRAIN.BATCH_SIZE.effective_batch_size=16
    config.TRAIN.OPTIMIZER.lr.base_lr=0.0001
    config.TEST.SELECT_ON=val
    config.TEST.THRESHOLD=val
    config.TRAINER.max_epochs=10
    config.TRAINER.log_every_n_steps=1)
case " $* " in *" --help "* | *" -h "* | *" --cfg "*) exec "${finetune[@]}" "$@" ;; esac
"${finetune[@]}" --cfg "$@" >/dev/null  # a mistake in them is told before anything is done
rm -rf "$out"  # a new run makes everything anew

echo "1/3  pre-training BaSSL on the 136 shots of Big Buck Bunny"
python "$root/bassl/pretrain/main.py" "${small[@]}" \
    +method=bassl \
    config.EXPR_NAME=quickstart \
    config.SEED=0 \
    config.CKPT_PATH="$out/pretrain/ckpt" \
    config.LOG_PATH="$out/pretrain/logs" \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
    config.TRAIN.BATCH_SIZE.effective_batch_size=16 \
    config.TRAIN.OPTIMIZER.lr.base_lr=1.0 \
    config.TRANSFORM.size=64 \
    config.TRAINER.max_epochs=6 \
    config.TRAINER.log_every_n_steps=4 \
    config.TEST.VAL_FREQ=3

echo "2/3  extracting shot features"
python "$root/bassl/pretrain/extract_shot_repr.py" "${small[@]}" \
    +config.LOAD_FROM=quickstart \
    config.CKPT_PATH="$out/pretrain/ckpt" \
    config.FEATURE_PATH="$out/features"

echo "3/3  fine-tuning on the labels of shots 0-69, choosing the epoch on shots 70-91, scoring shots 92-134"
"${finetune[@]}" "$@"

cat <<END

One film with 11 scene ends is a smoke signal that everything runs and learns, and no benchmark.
  scores       $out/finetune/logs/quickstart/all_score.json
  predictions  $out/finetune/logs/quickstart/predictions.csv
  picture      $out/finetune/logs/quickstart/timeline.png
  checkpoints  $out/pretrain/ckpt/quickstart  $out/finetune/ckpt/quickstart
  curves       $(dirname "$(command -v python)")/tensorboard --logdir $out
Next: all tests, by bash scripts/test.sh; a film of yours, by bassl segment FILM --model $out/finetune/ckpt/quickstart
(after source .venv/bin/activate && pip install -e '.[video]'); or your own data (README, "Your own films as a training set").
Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; key-frames resized
END
