#!/usr/bin/env bash
# Installs what building Lastseen needs and says what and why. Safe to run again: where all is there it says so
# and does nothing else.
#   deploy/setup.sh                what the build needs
#   deploy/setup.sh --with-kafka   also what the Kafka that the tests start needs (Java, Maven)
#   deploy/setup.sh --with-browser also the browser in which the tests look at the page
#   deploy/setup.sh --with-sdks    also the Python and Node.js with which the tests run the vendors' own clients
#   deploy/setup.sh --check        installs nothing; exit 1 if something is missing
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo_home=${CARGO_HOME:-${HOME:-/root}/.cargo}
if [ -d "$cargo_home/bin" ]; then PATH=$cargo_home/bin:$PATH; fi
# What is installed where there is none: a newer one may have lints that nobody here has met yet.
rust_tested=1.95
rust_wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)

with_kafka="" with_browser="" with_sdks="" check_only=""
for arg in "$@"; do
  case $arg in
    --with-kafka) with_kafka=yes ;;
    --with-browser) with_browser=yes ;;
    --with-sdks) with_sdks=yes ;;
    --check) check_only=yes ;;
    --help | -h)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "setup: unknown argument $arg (--with-kafka, --with-browser, --with-sdks, --check)" >&2
      exit 2
      ;;
  esac
done

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# ---- what is needed: is it there, what is it for, what is it called -----------------------------------------------

at_least() { # is version $1 >= version $2?  (numbers and dots)
  local a b IFS=.
  # shellcheck disable=SC2206
  a=($1) b=($2)
  for i in 0 1 2; do
    if [ "${a[i]:-0}" -gt "${b[i]:-0}" ]; then return 0; fi
    if [ "${a[i]:-0}" -lt "${b[i]:-0}" ]; then return 1; fi
  done
}

rust_version() { rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p'; }
java_version() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'; }

libclang_found() { # where bindgen looks
  local dir
  for dir in "${LIBCLANG_PATH:-}" /usr/lib/llvm*/lib /usr/lib/llvm/*/lib* /usr/lib /usr/lib64 /usr/lib/*-linux-gnu* \
    /usr/local/lib /usr/local/llvm*/lib /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib \
    /Library/Developer/CommandLineTools/usr/lib; do
    [ -n "$dir" ] || continue
    for lib in "$dir"/libclang.so* "$dir"/libclang-*.so* "$dir"/libclang.dylib; do
      if [ -e "$lib" ]; then return 0; fi
    done
  done
  return 1
}

is_there() {
  case $1 in
    compiler) has cc && has c++ && has make ;;
    clang) has clang && libclang_found ;;
    pkg-config) has pkg-config ;;
    openssl) has pkg-config && pkg-config --exists openssl ;;
    zlib) has pkg-config && pkg-config --exists zlib ;;
    rust)
      local version
      version=$(rust_version)
      [ -n "$version" ] && at_least "$version" "$rust_wanted" && has cargo &&
        cargo-clippy --version >/dev/null 2>&1 && rustfmt --version >/dev/null 2>&1
      ;;
    java)
      local major
      has java && has javac || return 1
      major=$(java_version)
      [ -n "$major" ] && [ "$major" -ge 17 ]
      ;;
    maven) has mvn ;; # it fetches that Kafka, and builds the peers of the benches
    timeout) has timeout ;;
    browser) has chromium && has chromedriver ;;
    python) has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    node) at_least "$(node --version 2>/dev/null | tr -d v)" 18.0 && has npm ;;
  esac
}

purpose() {
  case $1 in
    compiler) echo "C and C++ compiler, make: RocksDB and librdkafka are compiled" ;;
    clang) echo "clang and libclang: they generate RocksDB's Rust bindings" ;;
    pkg-config) echo "pkg-config: finds the system's libraries" ;;
    openssl) echo "OpenSSL headers: TLS in librdkafka" ;;
    zlib) echo "zlib headers: compression in librdkafka" ;;
    rust) echo "Rust $rust_wanted or newer with cargo, clippy and rustfmt" ;;
    java) echo "a JDK, 17 or newer: the Kafka that the tests start, and its tools" ;;
    maven) echo "Maven: fetches that Kafka, builds what Lastseen is measured against" ;;
    timeout) echo "GNU timeout: ends a Kafka that was left behind" ;;
    python) echo "Python 3 with venv and pip: the clients of other products, which the tests run" ;;
    node) echo "Node.js 18 or newer with npm: likewise, those in JavaScript" ;;
    browser) echo "Chromium and its driver (the commands chromium and chromedriver): the tests look at the page with them" ;;
  esac
}

package() { # manager, need
  case $1:$2 in
    apt:compiler) echo build-essential ;;
    apt:clang) echo clang libclang-dev ;;
    apt:pkg-config) echo pkg-config ;;
    apt:openssl) echo libssl-dev ;;
    apt:zlib) echo zlib1g-dev ;;
    apt:java) apt_jdk ;;
    apt:maven) echo maven ;;
    apt:browser) echo chromium chromium-driver ;;
    apt:python) echo python3 python3-venv ;;
    apt:node) echo nodejs npm ;;
    dnf:compiler) echo gcc gcc-c++ make ;;
    dnf:clang) echo clang clang-devel ;;
    dnf:pkg-config) echo pkgconf-pkg-config ;;
    dnf:openssl) echo openssl-devel ;;
    dnf:zlib) echo zlib-devel ;;
    dnf:browser) echo chromium chromedriver ;;
    dnf:python) echo python3 ;;
    dnf:node) echo nodejs npm ;;
    dnf:java) echo java-21-openjdk-devel ;;
    pacman:compiler) echo base-devel ;;
    pacman:clang) echo clang ;;
    pacman:pkg-config) echo pkgconf ;;
    pacman:openssl) echo openssl ;;
    pacman:zlib) echo zlib ;;
    pacman:browser) echo chromium ;;
    pacman:python) echo python ;;
    pacman:node) echo nodejs npm ;;
    pacman:java) echo jdk21-openjdk ;;
    apk:compiler) echo build-base bash linux-headers ;;
    apk:clang) echo clang clang-dev ;;
    apk:pkg-config) echo pkgconf ;;
    apk:openssl) echo openssl-dev ;;
    apk:zlib) echo zlib-dev ;;
    apk:browser) echo chromium chromium-chromedriver ;;
    apk:python) echo python3 ;;
    apk:node) echo nodejs npm ;;
    apk:java) echo openjdk21-jdk ;;
    brew:compiler) ;; # comes with Apple's command line tools
    brew:clang) echo llvm ;;
    brew:pkg-config) echo pkgconf ;;
    brew:openssl) echo openssl@3 ;;
    brew:zlib) echo zlib ;;
    brew:browser) echo chromium chromedriver ;;
    brew:python) echo python ;;
    brew:node) echo node ;;
    brew:java) echo openjdk@21 ;;
    *:maven) echo maven ;;
    apt:rust) if [ -n "$(apt_candidate rustup)" ]; then echo rustup; fi ;;
    dnf:rust | brew:rust | pacman:rust | apk:rust) echo rustup ;;
    *:timeout) echo coreutils ;;
  esac
}

# the version of package $1 that apt would install; nothing where it only knows the name
apt_candidate() {
  LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p'
}

# default-jdk-headless where it is new enough, else the newest of the versions that this release has
apt_jdk() {
  local name major
  major=$(apt_candidate default-jdk-headless | sed -n 's/^[0-9]*:1\.\([0-9]*\).*/\1/p')
  if [ "${major:-0}" -ge 17 ]; then
    echo default-jdk-headless
    return
  fi
  for name in openjdk-25-jdk-headless openjdk-21-jdk-headless openjdk-17-jdk-headless; do
    if [ -n "$(apt_candidate "$name")" ]; then
      echo "$name"
      return
    fi
  done
  echo default-jdk-headless
}

needs="compiler clang pkg-config openssl zlib rust"
if [ -n "$with_kafka" ]; then needs="$needs java maven timeout"; fi
if [ -n "$with_browser" ]; then needs="$needs browser"; fi
if [ -n "$with_sdks" ]; then needs="$needs python node"; fi

missing=""
look() {
  missing=""
  for need in $needs; do
    if ! is_there "$need"; then missing="$missing $need"; fi
  done
}

finish() {
  say "all there: C++ compiler, libclang, OpenSSL, zlib, Rust $(rust_version)${with_kafka:+, Java $(java_version)}${with_browser:+, Chromium}${with_sdks:+, Python, Node.js}"
  exit 0
}

look
[ -n "$missing" ] || finish

say "missing:"
for need in $missing; do
  say "  $(purpose "$need")"
  if [ "$need" = rust ] && has rustc; then say "    (here: $(rustc --version 2>/dev/null || echo 'a rustc that does not run'))"; fi
done

# ---- other systems, and --check: say how to get it ---------------------------------------------------------------

manager=none
for candidate in apt-get dnf pacman apk brew; do
  if has "$candidate"; then
    manager=${candidate%-get}
    break
  fi
done

command_for() { # how to install with $1
  case $1 in
    apt) echo "apt-get install -y" ;;
    dnf) echo "dnf install -y" ;;
    pacman) echo "pacman -S --needed" ;;
    apk) echo "apk add" ;;
    brew) echo "brew install" ;;
  esac
}

packages_for() { # manager, needs…
  local manager=$1 out=""
  shift
  for need in "$@"; do out="$out $(package "$manager" "$need")"; done
  # shellcheck disable=SC2086
  echo $out
}

rust_by_hand() {
  cat >&2 <<'END'
setup: Rust's official installer, for your user only, as https://rustup.rs says:
setup:   curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
setup: (where a rustup is installed already: rustup update stable && rustup component add clippy rustfmt)
END
}

advise() {
  local name names
  if [ "$manager" = none ]; then
    say "get them, by the name that your system has for each:"
    for name in dnf pacman apk brew; do
      # shellcheck disable=SC2086
      say "  $(command_for $name) $(packages_for $name $missing)"
    done
  else
    # shellcheck disable=SC2086
    names=$(packages_for "$manager" $missing)
    if [ -n "$names" ]; then say "get them:  $(command_for "$manager") $names"; fi
  fi
  case "$manager $missing " in
    "brew "*" compiler "*) say "and the compiler with:  xcode-select --install" ;;
  esac
  case " $missing " in *" rust "*) rust_by_hand ;; esac
}

if [ -n "$check_only" ] || [ "$manager" != apt ]; then
  advise
  [ -n "$check_only" ] || say "then run this again (only Debian and its relatives are set up by this script)"
  exit 1
fi

# ---- Debian and its relatives ------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    advise
    die "installing needs root, and there is no sudo"
  fi
}

updated=""
apt_install() {
  say "installing: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "apt-get install $* failed (its last words are above)"
  }
}

apt_update() {
  [ -z "$updated" ] || return 0
  updated=yes
  say "refreshing the package lists"
  as_root apt-get update -q >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    say "apt-get update failed (above); going on with the lists at hand"
  }
}

rust_failed() { # log, what
  tail -n 10 "$1" >&2
  rust_by_hand
  die "$2 (its last words are above)"
}

install_rust() {
  if ! has rustup && [ -n "$(apt_candidate rustup)" ]; then apt_install rustup ca-certificates; fi
  if has rustup; then
    say "installing Rust $rust_tested by rustup"
    rustup toolchain install "$rust_tested" --profile minimal --component clippy --component rustfmt >"$log" 2>&1 ||
      rust_failed "$log" "rustup could not install Rust $rust_tested"
    if ! is_there rust; then
      say "making it rustup's default"
      rustup default "$rust_tested" >"$log" 2>&1 || rust_failed "$log" "rustup could not make it the default"
    fi
  else
    say "this release has no package of rustup: trying Rust's official installer, for this user only"
    if ! has curl; then apt_install curl ca-certificates; fi
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$log.sh" >"$log" 2>&1 ||
      rust_failed "$log" "Rust's installer could not be fetched: install Rust by hand, then run this again;"
    sh "$log.sh" -y --default-toolchain "$rust_tested" --profile minimal --component clippy --component rustfmt >"$log" 2>&1 ||
      rust_failed "$log" "Rust's installer failed: install Rust by hand, then run this again;"
    say "Rust is in $cargo_home/bin (new shells find it; make looks there by itself)"
  fi
  if [ -d "$cargo_home/bin" ]; then PATH=$cargo_home/bin:$PATH; fi
  hash -r
}

log=$(mktemp)
trap 'rm -f "$log" "$log.sh"' EXIT
apt_update
from_apt=""
for need in $missing; do
  if [ "$need" != rust ]; then from_apt="$from_apt $(package apt "$need")"; fi
done
# shellcheck disable=SC2086
if [ -n "$from_apt" ]; then apt_install $from_apt; fi
case " $missing " in *" rust "*) install_rust ;; esac

look
[ -n "$missing" ] || finish
for need in $missing; do
  say "still missing: $(purpose "$need")"
  case $need in
    java) if has java; then say "  java on the PATH is version $(java_version), $(has javac && echo with || echo without) a compiler: choose another with update-alternatives"; fi ;;
  esac
done
die "the packages are installed, but this machine still lacks the above"
