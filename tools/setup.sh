# Sourced by tools/demo and tools/test: a virtual environment in .venv with jitemu in it.
# Sets $python.  Arguments of make_environment: what pip installs (default: jitemu itself).

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

# apt_install PACKAGE...: as root; the lists are fetched once, when a package is not found
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "$@" </dev/null >"$apt_log" 2>&1 && return
    { apt-get update -q && apt-get install -y -q --no-install-recommends "$@"; } \
        </dev/null >"$apt_log" 2>&1 || { tail -n 5 "$apt_log" >&2; return 1; }
}

make_environment() {
    command -v python3 >/dev/null || die "python3 is not here; install the package python3"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "python3 is too old; jitemu needs Python 3.11 or newer"
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        can_install || die "python3-venv is not here; run: sudo apt-get install python3-venv"
        echo "installing python3-venv" >&2
        apt_install python3-venv || die "apt-get could not install python3-venv"
    fi
    python=.venv/bin/python
    if ! { [ -x "$python" ] && "$python" -m pip --version; } >/dev/null 2>&1; then
        echo "making a virtual environment in .venv" >&2
        python3 -m venv --clear .venv || die "could not make .venv"
    fi
    local what=${1:-.}
    # installed again only when what pip was told has changed
    local stamp=".venv/installed" state
    state="$what $(cat pyproject.toml setup.py | cksum)"
    if [ ! -f "$stamp" ] || ! grep -qxF -- "$state" "$stamp"; then
        echo "installing jitemu and what it needs into .venv (a minute or so: it makes stencils)" >&2
        # a new pip's console scripts do not import re, which costs a start some 4 ms
        "$python" -m pip install -qq --disable-pip-version-check -U pip >&2 ||
            die "pip could not be brought up to date (is the Python package index reachable?)"
        # editable_mode=compat: a plain path entry, which costs nothing at start-up
        "$python" -m pip install -qq --disable-pip-version-check \
            --config-settings editable_mode=compat -e "$what" >&2 ||
            die "pip could not install jitemu (is the Python package index reachable?)"
        echo "$state" >>"$stamp"
    fi
}

apt_log=$(mktemp) || die "no temporary file"
trap 'rm -f "$apt_log"' EXIT
