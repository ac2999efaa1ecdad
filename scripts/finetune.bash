# Sourced by finetune_bassl.sh and finetune_shot-level_baseline.sh: extraction, then fine-tuning. Takes the pre-trained
# EXPR_NAME, what the fine-tuned one is called before it, the learning rate, and the fine-tuning's settings.
set -f  # EXTRACT_ARGS is cut at blanks, its [ ] and * stay as they are
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"

extract_and_finetune() {
    local load_from="$1" prefix="$2" base_lr="$3" word
    shift 3
    local finetune=("${PYTHON:-python3}" "$root/bassl/finetune/main.py"
        config.TRAIN.BATCH_SIZE.effective_batch_size=1024
        config.EXPR_NAME="${prefix}_$load_from"
        config.DISTRIBUTED.NUM_NODES=1
        config.DISTRIBUTED.NUM_PROC_PER_NODE=1
        config.TRAIN.OPTIMIZER.lr.base_lr="$base_lr"
        +config.PRETRAINED_LOAD_FROM="$load_from")
    local places=()  # where data, features and the pre-trained model lie is the same for both
    for word in "$@"; do
        case "$word" in
            --help | -h | --cfg) exec "${finetune[@]}" "$@" ;;
            *config.PRETRAINED_CKPT_PATH=*) places+=("config.CKPT_PATH=${word#*=}") ;;
            *config.DATA_PATH=* | *config.ANNO_PATH=* | *config.IMG_PATH=* | *config.SHOT_PATH=* | *config.FEATURE_PATH=*)
                places+=("$word") ;;
        esac
    done

    "${finetune[@]}" --cfg "$@" >/dev/null  # report a mistake before the extraction
    "${PYTHON:-python3}" "$root/bassl/pretrain/extract_shot_repr.py" \
        config.DISTRIBUTED.NUM_NODES=1 \
        config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
        +config.LOAD_FROM="$load_from" \
        ${places[@]+"${places[@]}"} \
        ${EXTRACT_ARGS:-}
    exec "${finetune[@]}" "$@"
}
