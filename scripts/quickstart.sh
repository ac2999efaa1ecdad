#!/usr/bin/env bash
# Learn on drawn films, test on unseen ones, cut a real film; minutes on a CPU: bash scripts/quickstart.sh [fine-tuning config.KEY=VALUE ...]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.bash"
set_up_environment ""
out="$root/outputs/quickstart"
bassl=(python -m bassl.cli)
films=(config.DATA_PATH="$out/films" config.TRANSFORM.test.resize=36 config.TRANSFORM.test.crop=32 config.TRAIN.NUM_WORKERS=1)
pretrain=("${bassl[@]}" pretrain "${films[@]}" +method=bassl config.SEED=0
    config.CKPT_PATH="$out/pretrain/ckpt" config.LOG_PATH="$out/pretrain/logs" config.SAVE_OPTIMIZER=false
    config.DISTRIBUTED.NUM_PROC_PER_NODE=1
    config.MODEL.shot_encoder.resnet.depth=18
    config.MODEL.contextual_relation_network.params.trn.hidden_size=256
    config.MODEL.contextual_relation_network.params.trn.intermediate_size=1024
    config.LOSS.sampling_method.params.bassl.neighbor_size=5
    config.TRAIN.BATCH_SIZE.effective_batch_size=16
    config.TRAIN.OPTIMIZER.lr.base_lr=2.0
    config.TRANSFORM.size=32
    config.TEST.KNN_VALIDATION=false)
extract=("${bassl[@]}" extract "${films[@]}" config.CKPT_PATH="$out/pretrain/ckpt")
finetune=("${bassl[@]}" finetune "${films[@]}" +preset=small_data config.EXPR_NAME=finetuned
    config.PRETRAINED_LOAD_FROM=pretrained config.PRETRAINED_CKPT_PATH="$out/pretrain/ckpt"
    config.CKPT_PATH="$out/finetune/ckpt" config.LOG_PATH="$out/finetune/logs")
cd "$root"
case " $* " in *" --help "* | *" -h "* | *" --cfg "*) exec "${finetune[@]}" "$@" ;; esac
"${finetune[@]}" --cfg "$@" > /dev/null  # report mistakes in the arguments before anything is done
rm -rf "$out"

echo "1/5  drawing 24 films with known scenes: 12 to train on, 4 to validate, 8 to test"
python -m bassl.procedural.main --target "$out/films" --films 24 --shots 80 --split 0.5 0.1667 0.3333

echo "2/5  pre-training BaSSL on the key-frames, without labels"
"${pretrain[@]}" config.EXPR_NAME=untrained config.TRAINER.max_epochs=0
"${pretrain[@]}" config.EXPR_NAME=pretrained config.TRAINER.max_epochs=3

echo "3/5  extracting shot features with the untrained and with the pre-trained encoder"
"${extract[@]}" config.LOAD_FROM=untrained
"${extract[@]}" config.LOAD_FROM=pretrained

echo "4/5  fine-tuning on the labels of 12 films, testing on 8 unseen films"
"${bassl[@]}" evaluate "${films[@]}" config.FEATURE_PATH="$out/films/features/untrained" config.LOG_PATH="$out/finetune/logs" config.EXPR_NAME=untrained
"${finetune[@]}" "$@"

echo "5/5  cutting a real film, Big Buck Bunny, by its key-frames"
"${bassl[@]}" segment --keyframes bassl/data/big_buck_bunny --encoder colour --output "$out/scenes"

python -m bassl.procedural.summary "$out"
