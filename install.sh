#!/bin/sh
# Installs imgforge: downloads the program, the signed list of digests and the signature of that list, checks
# the one with the other and both with a public key that you have, and puts the program into place.
#
#   sh install.sh --key FILE [--version V] [--from URL|DIR] [--prefix DIR] [--dry-run] [--quiet]
#
#   --key FILE       the public key of imgforge's releases, PEM; compare its fingerprint over another way
#   --version V      which version, such as 0.1.0 (default: the one that the list names)
#   --from URL|DIR   where the files of the release are (default: this project's releases on GitHub)
#   --prefix DIR     the program becomes DIR/bin/imgforge (default: /usr/local for root, else ~/.local)
#   --dry-run        downloads and checks, and installs nothing
#   --quiet          says nothing but errors
#
# Needs openssl, and curl or wget for a URL. Exit codes are those of imgforge: 2 for a wrong option, 11 when
# the key did not sign the list, 12 when the program is not the one in the list, 20 for the network, else 1.
set -eu

releases=https://github.com/imgforge/imgforge/releases

say() { [ -n "$quiet" ] || echo "$*"; }
fail() { # fail CODE WHY WHAT-TO-DO
    echo "error: $2" >&2
    [ -z "${3:-}" ] || printf '\nhint: %s\n' "$3" >&2
    exit "$1"
}
have() { command -v "$1" >/dev/null 2>&1; }

# get NAME LIMIT: brings a file of the release into the working folder
get() {
    case $from in
    http://* | https://*)
        if have curl; then
            curl -fsSL --connect-timeout 15 --retry 2 --max-filesize "$2" -o "$work/$1" "$from/$1" 2>"$work/said"
        elif have wget; then
            wget -q --tries=3 --timeout=30 -O "$work/$1" "$from/$1" 2>"$work/said"
        else
            fail 1 "there is neither curl nor wget" "install one of them, or download the files and name their folder with --from DIR"
        fi || fail 20 "cannot download $from/$1: $(tail -n 1 "$work/said")" "check the address and the version, then run it again"
        ;;
    *) cp "$from/$1" "$work/$1" 2>"$work/said" || fail 1 "cannot read $from/$1" "name the folder with the files of the release with --from" ;;
    esac
    [ "$(wc -c <"$work/$1")" -le "$2" ] || fail 12 "$from/$1 is larger than $2 bytes" "this is not a release of imgforge; nothing was installed"
}

main() {
    key='' version='' from='' prefix='' dry='' quiet=''
    while [ $# != 0 ]; do
        case $1 in
        --key | --version | --from | --prefix)
            [ $# -gt 1 ] || fail 2 "$1 needs a value" "sh install.sh --help"
            case $1 in --key) key=$2 ;; --version) version=$2 ;; --from) from=$2 ;; --prefix) prefix=$2 ;; esac
            shift
            ;;
        --dry-run) dry=yes ;;
        --quiet | -q) quiet=yes ;;
        --help | -h)
            echo 'sh install.sh --key FILE [--version V] [--from URL|DIR] [--prefix DIR] [--dry-run] [--quiet]'
            return
            ;;
        *) fail 2 "there is no option $1" "sh install.sh --help" ;;
        esac
        shift
    done
    [ -n "$key" ] || fail 2 "whose signature should count?" "name the public key of imgforge's releases with --key FILE"
    [ -r "$key" ] || fail 2 "there is no public key $key" "name it with --key FILE"
    case $version in *[!0-9A-Za-z.-]*) fail 2 "$version is no version" "write it as 0.1.0" ;; esac
    [ "$(uname -s)" = Linux ] || fail 1 "imgforge runs on Linux, and this is $(uname -s)"
    case $(uname -m) in
    x86_64 | amd64) arch=x86_64 ;;
    aarch64 | arm64) arch=aarch64 ;;
    *) fail 1 "there is no imgforge for $(uname -m)" "build it with cargo" ;;
    esac
    have openssl || fail 1 "there is no openssl" "install it: nothing else here can check the signature"
    openssl pkey -pubin -in "$key" -noout 2>/dev/null || fail 2 "$key is no public key" "it begins with -----BEGIN PUBLIC KEY-----"
    if [ -z "$from" ]; then
        from=$releases/latest/download
        [ -z "$version" ] || from=$releases/download/imgforge-v$version
    fi
    from=${from%/}
    if [ -z "$prefix" ]; then
        prefix=/usr/local
        [ "$(id -u)" = 0 ] || prefix=${HOME:?}/.local
    fi

    work=$(mktemp -d)
    new=''
    trap 'rm -rf "$work" ${new:+"$new"}' EXIT
    trap 'exit 130' INT TERM HUP

    # The list first: nothing that it does not name is asked for.
    get SHA256SUMS 65536
    get SHA256SUMS.sig 65536
    openssl base64 -d -A -in "$work/SHA256SUMS.sig" -out "$work/signature" 2>/dev/null || : >"$work/signature"
    [ -s "$work/signature" ] ||
        fail 11 "$from/SHA256SUMS.sig is no signature" "it may be a web page; nothing was installed"
    openssl dgst -sha256 -verify "$key" -signature "$work/signature" "$work/SHA256SUMS" >/dev/null 2>&1 ||
        fail 11 "the key $key did not sign $from/SHA256SUMS" "compare the key with the project's over another way; nothing was installed"

    # What follows is signed: `<64 hex digits>  imgforge-<version>-<arch>-linux`.
    line=$(grep -E "^[0-9a-f]{64}  imgforge-[0-9A-Za-z.-]+-$arch-linux\$" "$work/SHA256SUMS") ||
        fail 12 "the release has no imgforge for $arch" "choose another version with --version"
    [ "$(echo "$line" | wc -l)" = 1 ] || fail 12 "the list names more than one imgforge for $arch" "tell the project"
    digest=${line%% *} name=${line##* }
    found=${name#imgforge-} found=${found%"-$arch-linux"}
    [ "${version:-$found}" = "$found" ] ||
        fail 12 "this is the release of imgforge $found, not of $version" "somebody put one in the place of the other; nothing was installed"
    get "$name" 268435456
    read=$(openssl dgst -sha256 -r "$work/$name") read=${read%% *}
    [ "$read" = "$digest" ] ||
        fail 12 "$from/$name is not the signed program: expected sha256:$digest, read sha256:$read" "the download was damaged or replaced; nothing was installed"
    say "verified   $name  sha256:$digest"
    if [ -n "$dry" ]; then
        say "installed  nothing: --dry-run"
        return
    fi

    # Beside its place, so that it gets there whole or not at all.
    elsewhere='choose another folder with --prefix DIR, or become root'
    mkdir -p "$prefix/bin" 2>/dev/null || fail 1 "cannot make $prefix/bin" "$elsewhere"
    new=$(mktemp "$prefix/bin/.imgforge.XXXXXX" 2>/dev/null) || fail 1 "cannot write to $prefix/bin" "$elsewhere"
    cat "$work/$name" >"$new" || fail 1 "cannot write to $prefix/bin" "$elsewhere"
    chmod 755 "$new"
    "$new" --version >/dev/null 2>&1 || fail 1 "$name does not run on this machine" "nothing was installed; tell the project"
    mv -f "$new" "$prefix/bin/imgforge"
    new=''
    say "installed  $prefix/bin/imgforge, version $found"
    case :$PATH: in *":$prefix/bin:"*) ;; *) say "next       export PATH=$prefix/bin:\$PATH" ;; esac
}

# Last, so that half a script does nothing.
main "$@"
