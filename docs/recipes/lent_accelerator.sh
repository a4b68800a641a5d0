#!/usr/bin/env bash
# Training on an accelerator that is lent by the minute: bare at every start, no network, commands that end
# after minutes, a few dozen MiB with each. One verb a step, all from the repository's root:
#
#   at home      pack DATA             DATA/people and DATA/people-eval in pieces, and wheels -> .carry/
#   over there   install               the wheels, and this tree
#                stage                 the pieces that this call carried -> $WORK; says how many are to come
#                measure [RUN.yaml]    what the device computes; where a training step's time goes
#                train NAME ROLE RUN.yaml [--budget 8m] [--teacher FILE] [--set ...]
#                                      detached, so that it outlives the command; again: goes on
#                poll NAME SECONDS     waits for its end, shows the log, copies weights and log to $OUT
#                stop NAME             saved within a step; `train` goes on from there
#
# Carry .carry/wheels with the first call, then .carry/kit and one of .carry/0, .carry/1, ... with each. Paths
# in a RUN.yaml are those of docs/training.md, below $WORK: data/people, cache, runs/NAME. A later machine goes
# on from weights that came home: `--set start_from=...`.
set -euo pipefail

PYTHON=${PYTHON:-python3}
WORK=${WORK:-$HOME/distilpose-work}
OUT=${OUT:-$WORK/out}
PIECE_MIB=${PIECE_MIB:-24}           # with the tree, within what a call takes
PYTHON_THERE=${PYTHON_THERE:-3.12}
# What an image with torch, numpy, OpenCV, matplotlib and tensorboard lacks.
WHEELS=${WHEELS-annotated-types faster-coco-eval fastapi fastapi-offline googleapis-common-protos grpcio
    grpcio-health-checking grpcio-reflection grpcio-status hatchling httptools httpx packaging pathspec pillow
    pluggy protobuf pydantic pydantic-core pydantic-settings python-dotenv python-multipart simplejpeg starlette
    trove-classifiers typing-inspection ultralytics-opencv-headless uvicorn}

fail() { echo "lent_accelerator.sh: $*" >&2; exit 2; }

pack() {
    local data=${1:?pack: which folder of people?} kit=.carry/kit piece=0 filled=0 file size
    rm -rf .carry && mkdir -p "$kit"
    while read -r file; do
        size=$(stat -c %s "$data/$file")
        [ "$size" -le $((PIECE_MIB << 20)) ] || fail "$data/$file: larger than a piece of $PIECE_MIB MiB"
        if [ $((filled + size)) -gt $((PIECE_MIB << 20)) ]; then piece=$((piece + 1)) filled=0; fi
        mkdir -p ".carry/$piece/$(dirname "$file")" && cp "$data/$file" ".carry/$piece/$file"
        filled=$((filled + size))
    done < <(cd "$data" && find people people-eval -type f | sort)
    (cd "$data" && find people people-eval -type f -print0 | sort -z | xargs -0 sha256sum) > "$kit/people.sha256"
    if [ -n "$WHEELS" ]; then
        # shellcheck disable=SC2086  # a list
        "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$PYTHON_THERE" \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
            -c constraints.txt -d .carry/wheels $WHEELS
    fi
    du -sm .carry/*/
}

install() {
    "$PYTHON" -m pip install --quiet --no-index --no-deps .carry/wheels/*.whl
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
    "$PYTHON" -m distilpose.cli doctor
}

stage() {
    local piece
    mkdir -p "$WORK/data"
    for piece in .carry/[0-9]*/; do cp -r "$piece". "$WORK/data/"; done
    local listed=$PWD/.carry/kit/people.sha256 missing
    missing=$(cd "$WORK/data" && sha256sum --check --quiet "$listed" 2> /dev/null | grep -c FAILED || true)
    echo "files still to come: $missing of $(wc -l < "$listed")"
}

measure() {
    "$PYTHON" tests/bench/accelerator.py
    if [ $# -gt 0 ]; then
        local run bench=$PWD/tests/bench/train_feed.py
        run=$(realpath "$1")
        (cd "$WORK" && "$PYTHON" "$bench" "$run")
    fi
}

train() {
    local name=$1 role=$2 run
    run=$(realpath "$3")
    shift 3
    mkdir -p "$WORK/runs/$name" && cd "$WORK"
    PYTHONUNBUFFERED=1 setsid "$PYTHON" -m distilpose.cli train "$role" --config "$run" --out "runs/$name" \
        --resume "$@" >> "runs/$name/output.txt" 2>&1 < /dev/null &
    echo $! > "runs/$name/pid"
}

running() { kill -0 "$(cat "$WORK/runs/$1/pid")" 2> /dev/null; }

poll() {
    local folder=$WORK/runs/$1 end=$((SECONDS + $2)) file
    while running "$1" && [ $SECONDS -lt $end ]; do sleep 1; done
    tail -n 12 "$folder/output.txt"
    mkdir -p "$OUT"
    for file in "$folder"/*.safetensors "$folder"/{log.jsonl,output.txt,curves.png,predictions.png}; do
        if [ -f "$file" ]; then cp "$file" "$OUT/$1-$(basename "$file")"; fi
    done
    if running "$1"; then echo "$1 is running"; else echo "$1 has ended"; fi
}

stop() { kill -TERM "$(cat "$WORK/runs/$1/pid")"; }

case ${1:-} in
    pack | install | stage | measure | train | poll | stop) "$@" ;;
    *) fail "one of pack, install, stage, measure, train, poll and stop" ;;
esac
