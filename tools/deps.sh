#!/bin/sh
# Installs the Debian packages that are missing, and nothing else; with all there it needs neither
# root nor the network, and it never asks.
#
#   tools/deps.sh           what building and testing need
#   tools/deps.sh lint      what `make lint`, `make clang` and `make valgrind` need
#   tools/deps.sh --check   names what is missing for building and testing; installs nothing
#
# Consul is in no release after Debian 11. Unless some `consul` is on PATH, that one package is taken
# from there: fetched and verified by apt with lists of its own, so that the machine's apt never comes
# to know that suite, and installed as a file, so that what it depends on comes from the machine's own
# suites. It is neither started nor enabled.
set -eu

build='gcc libc6-dev binutils make meson ninja-build pkg-config libuv1-dev libpq-dev
libcurl4-openssl-dev libmicrohttpd-dev libjansson-dev libyaml-dev libsqlite3-dev libsmartcols-dev
libssl-dev libcmocka-dev postgresql-15 python3 python3-pytest python3-psycopg2
clang libclang-rt-14-dev systemd iproute2 util-linux spin bind9-dnsutils'
lint='clang-format clang-tidy cppcheck valgrind'
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
need_consul=
if ! command -v consul >/dev/null; then
    need_consul=yes
fi
if [ -z "$missing$need_consul" ]; then
    exit 0
fi
if [ "${1-}" = --check ]; then
    if [ -n "$need_consul" ]; then
        echo "missing: consul (the tests on Consul need it; make deps installs it)" >&2
    fi
    if [ -z "$missing" ]; then
        exit 0
    fi
    echo "missing packages:$missing" >&2
    echo "run: make deps" >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "deps: packages are missing and this user may not install them. As root, run tools/deps.sh" >&2
    if [ -z "$missing" ]; then
        exit 1 # consul alone
    fi
    echo "or:" >&2
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

install_packages() {
    $as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -q -y \
        --no-install-recommends -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@"
}

# The address of the Debian mirror that this machine is configured with.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' \
        'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ { print $4; exit }'
}

install_consul() {
    suite=bullseye
    mirror=$(debian_mirror)
    if [ -z "$mirror" ]; then
        echo "deps: this machine's apt has no Debian mirror: put consul 1.8 or later on PATH" >&2
        return 1
    fi
    own=$(mktemp -d)
    trap 'rm -rf "$own"' EXIT
    chmod 755 "$own" # apt reads as a user of its own
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
        >"$own/sources.list"
    set -- -q -o Dir::Etc::SourceList="$own/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$own/lists" -o Dir::Cache="$own/cache" -o APT::Sandbox::User=
    if ! apt-get "$@" --error-on=any update || ! (cd "$own" && apt-get "$@" download consul); then
        echo "deps: no consul from $mirror $suite: put consul 1.8 or later on PATH" >&2
        return 1
    fi
    install_packages "$own"/consul_*.deb
}

$as_root apt-get update -q
if [ -n "$missing" ]; then
    echo "deps: installing$missing"
    # Word splitting is wanted: these are names.
    # shellcheck disable=SC2086
    install_packages $missing
fi
if [ -n "$need_consul" ]; then
    echo "deps: installing consul"
    install_consul
fi
