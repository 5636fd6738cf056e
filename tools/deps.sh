#!/bin/sh
# Installs the Debian packages that are missing, and nothing else; with all there it needs neither
# root nor the network, and it never asks.
#
#   tools/deps.sh           what building and testing need
#   tools/deps.sh lint      what `make lint`, `make clang` and `make valgrind` need
#   tools/deps.sh --check   names what is missing for building and testing; installs nothing
set -eu

build='gcc libc6-dev binutils make meson ninja-build pkg-config libuv1-dev libpq-dev
libcurl4-openssl-dev libmicrohttpd-dev libjansson-dev libyaml-dev libsqlite3-dev libsmartcols-dev
libssl-dev libcmocka-dev postgresql-15 python3 python3-pytest python3-psycopg2'
lint='clang clang-format clang-tidy cppcheck libclang-rt-14-dev valgrind'
createcluster=/etc/postgresql-common/createcluster.conf

wanted=$build
[ "${1-}" = lint ] && wanted="$build $lint"

if ! command -v dpkg-query >/dev/null; then
    echo "deps: not a Debian system; these packages, or their like, are needed:" $wanted >&2
    exit 0
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" = installed ]; then
        continue
    fi
    if [ "$package" = pkg-config ] && command -v pkg-config >/dev/null; then
        continue # pkgconf may stand in for it
    fi
    missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi
if [ "${1-}" = --check ]; then
    echo "missing packages:$missing" >&2
    echo "run: make deps" >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "deps: these packages are missing and this user may not install them. As root, run:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    case "$missing" in *postgresql-15*)
        echo "and before it, so that Debian makes no server of its own on port 5432:" >&2
        echo "    mkdir -p ${createcluster%/*} && echo 'create_main_cluster = false' >>$createcluster" >&2
        ;;
    esac
    exit 1
fi

# Without this line Debian's package creates and starts a server on port 5432. A line that somebody
# has set is left alone.
case "$missing" in *postgresql-15*)
    if ! grep -qs '^[[:space:]]*create_main_cluster' "$createcluster"; then
        $as_root mkdir -p "${createcluster%/*}"
        echo 'create_main_cluster = false' | $as_root tee -a "$createcluster" >/dev/null
    fi
    ;;
esac

echo "deps: installing$missing"
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -q -y \
    --no-install-recommends -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold $missing
