# What the scripts need from the machine; sourced by them, not run.
# Each `need_…` returns at once where the thing is there, else installs it after saying so, else says
# what to do and ends the script.
# shellcheck shell=bash

say() { printf 'cloudlink: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

# install NAME APT DNF PACMAN APK BREW: the packages, several in one word, of whichever manager is here.
install() {
    local name=$1 packages command
    if command -v brew >/dev/null; then
        packages=$6 command='brew install --quiet'
    elif command -v apt-get >/dev/null; then
        packages=$2 command='apt-get install -y -qq --no-install-recommends'
    elif command -v dnf >/dev/null; then
        packages=$3 command='dnf install -y -q'
    elif command -v pacman >/dev/null; then
        packages=$4 command='pacman -S --needed --noconfirm'
    elif command -v apk >/dev/null; then
        packages=$5 command='apk add -q'
    else
        fail "$name is missing and no package manager was recognised: install it, then start again"
    fi
    local as=(env)
    if [ "${command%% *}" != brew ] && [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "$name is missing: run \`$command $packages\` as root, then start again"
        as=(sudo)
    fi
    say "$name is missing: installing it ($command $packages)"
    case $command in
    # Debian's images come with empty lists of packages.
    apt-get*) "${as[@]}" apt-get update -qq >&2 || say 'the lists of packages could not be renewed; trying without' ;;
    esac
    # shellcheck disable=SC2086
    "${as[@]}" DEBIAN_FRONTEND=noninteractive $command $packages >&2 ||
        fail "$name could not be installed: see above, install it by hand, then start again"
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null || fail "Rust is missing: install it as https://rustup.rs says, then start again"
}

need_compiler() {
    command -v cc >/dev/null && return
    [ "$(uname)" != Darwin ] || fail 'a C compiler is missing: run `xcode-select --install`, then start again'
    install 'a C compiler' 'gcc libc6-dev' gcc gcc 'gcc musl-dev' gcc
}

# postgresql_bin: prints the folder of the newest `initdb` and `postgres`, found where the server looks too.
postgresql_bin() {
    local place version newest='' best=-1
    for place in "${CLOUDLINK_POSTGRES_BIN:-}" "$(dirname "$(readlink -f "$(command -v postgres)" 2>/dev/null)")" \
        /usr/lib/postgresql/*/bin /usr/libexec/postgresql* /usr/pgsql-*/bin /usr/local/pgsql/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin; do
        if [ -x "$place/initdb" ] && [ -x "$place/postgres" ]; then
            version=$("$place/postgres" --version | sed 's/.*(PostgreSQL) *\([0-9]*\).*/\1/')
            if [ "$version" -gt "$best" ]; then
                best=$version newest=$place
            fi
        fi
    done
    [ "$best" -ge 14 ] && printf '%s\n' "$newest"
}

need_postgresql() {
    postgresql_bin >/dev/null && return
    install PostgreSQL postgresql postgresql-server postgresql 'postgresql postgresql-client' postgresql
    postgresql_bin >/dev/null || fail 'PostgreSQL 14 or newer is needed, and the packaged one is older: install a newer one'
}

# Distributions put servers where not everybody looks.
need_nats() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nats-server >/dev/null && return
    install 'the NATS server' nats-server nats-server nats-server nats-server nats-server
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nats-server >/dev/null ||
        fail 'nats-server is needed: install it as https://docs.nats.io says, then start again'
}

# need_balancer PROGRAM: installs it, and switches off the service that the package starts. Tests run their own.
need_balancer() {
    [ -n "$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1")" ] && return
    install "$1" "$2" "$1" "$1" "$1" "$1"
    [ -d /run/systemd/system ] || return 0
    local as=(env)
    [ "$(id -u)" = 0 ] || as=(sudo)
    say "switching off the service $1, which its package has started (systemctl disable --now $1)"
    "${as[@]}" systemctl disable --now "$1" >&2 || say "the service $1 could not be switched off"
}

need_haproxy() { need_balancer haproxy haproxy; }

need_nginx() { need_balancer nginx nginx-light; }

need_rust_tools() {
    { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1 && return
    command -v rustup >/dev/null || fail 'rustfmt and clippy are missing: install them with your Rust'
    say 'rustfmt or clippy is missing: installing them (rustup component add rustfmt clippy)'
    rustup component add rustfmt clippy >&2
}

node_is_enough() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null
}

need_node() {
    node_is_enough && return
    install 'Node 20 or newer' 'nodejs npm' 'nodejs npm' 'nodejs npm' 'nodejs npm' node
    node_is_enough || fail 'Node 20 or newer is needed, and the packaged one is older: install it as https://nodejs.org says'
}

chromium_path() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable \
        '/Applications/Chromium.app/Contents/MacOS/Chromium' \
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'; do
        [ -n "$name" ] && command -v "$name" && return
    done
    return 1
}

# Leaves the browser's path in CHROMIUM.
need_chromium() {
    chromium_path >/dev/null || install Chromium chromium chromium chromium chromium '--cask google-chrome'
    CHROMIUM=$(chromium_path) || fail 'Chromium is needed: install it, or set CHROMIUM to the path of a Chromium or Chrome'
    export CHROMIUM
}

python_is_enough() { python3 -c 'import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

need_python() {
    python_is_enough && return
    install 'Python 3.11 or newer with venv' 'python3 python3-venv' python3 python python3 python
    python_is_enough || fail 'Python 3.11 or newer with its venv module is needed: install it, then start again'
}

# A package that the end-to-end tests install is compiled against Python's own headers.
need_python_headers() {
    [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] && return
    install "Python's headers" python3-dev python3-devel python python3-dev python3
}

# Distributions put servers where not everybody looks.
mosquitto_is_there() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mosquitto >/dev/null && command -v mosquitto_passwd >/dev/null
}

need_mosquitto() {
    mosquitto_is_there && return
    install mosquitto mosquitto mosquitto mosquitto mosquitto mosquitto
    mosquitto_is_there || fail 'mosquitto is needed, with mosquitto_passwd: install it, then start again'
}

# target_dir: where cargo puts what it builds.
target_dir() {
    cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}
