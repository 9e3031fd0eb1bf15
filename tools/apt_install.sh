#!/bin/sh
# usage: apt_install.sh PACKAGE...
# Installs Debian packages if it may, and starts none of their services. Status 1: not installed.
set -eu

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing, please install (names of Debian packages): $*" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

# --no-remove: a mail server of the machine's own must not give way to ours.
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes \
        --no-install-recommends --no-remove "$@" </dev/null >&2
}

# Old package lists are tried first: they are usually good, and an update takes a while.
install "$@" || { apt-get update --quiet --quiet >&2 && install "$@"; } || {
    echo "could not install: $*" >&2
    exit 1
}
