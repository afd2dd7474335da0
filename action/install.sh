#!/usr/bin/env bash
# Downloads a release of kustomizer, verifies its checksum, and puts the program on the PATH of the
# steps that follow. What it is told is in the environment: see action.yml.
set -euo pipefail

# fail shows a message, whatever it holds, on the page of the run.
fail() {
	local text=${1//'%'/%25}
	text=${text//$'\r'/%0D}
	printf '::error title=kustomizer::%s\n' "${text//$'\n'/%0A}"
	exit 1
}

version=${INPUT_VERSION#v}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] ||
	fail "version must be one that was released, such as 1.2.3, not \"$INPUT_VERSION\""
checksum=${INPUT_CHECKSUM:-}
[[ $checksum =~ ^([0-9a-f]{64})?$ ]] || fail "checksum must be a SHA-256 in hexadecimal, not \"$checksum\""

# Only a test's own server may be asked without TLS.
base=${INPUT_DOWNLOAD_URL%/}
case $base in
https://*) protocol==https ;;
http://127.0.0.1:*) protocol==http ;;
*) fail "download-url must begin with https://, not \"$base\"" ;;
esac

case ${RUNNER_OS:-} in
Linux) os=linux ;;
macOS) os=darwin ;;
Windows) os=windows ;;
*) fail "there is no release for the operating system \"${RUNNER_OS:-}\"" ;;
esac
case ${RUNNER_ARCH:-} in
X64) arch=amd64 ;;
ARM64) arch=arm64 ;;
*) fail "there is no release for the architecture \"${RUNNER_ARCH:-}\"" ;;
esac
archive=kustomizer_${version}_${os}_${arch}.tar.gz program=kustomizer
if [ "$os" = windows ]; then archive=${archive%.tar.gz}.zip program=kustomizer.exe; fi
sums=kustomizer_${version}_checksums.txt

parent=${RUNNER_TEMP:-${TMPDIR:-/tmp}}
if [ "$os" = windows ]; then parent=$(cygpath -u "$parent"); fi
temporary=$(mktemp -d "$parent/kustomizer.XXXXXX")
trap 'rm -rf "$temporary/download"' EXIT
mkdir "$temporary/download" "$temporary/bin"

download() {
	curl --proto "$protocol" --tlsv1.2 --fail --location --silent --show-error --globoff \
		--retry 4 --retry-connrefused --connect-timeout 20 --max-time 300 --max-filesize 268435456 \
		--output "$temporary/download/$1" -- "$base/v$version/$1" ||
		fail "downloading $base/v$version/$1 did not work"
}

sha256() {
	if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d ' ' -f 1
}

download "$sums"
if [ -n "$checksum" ] && [ "$(sha256 "$temporary/download/$sums")" != "$checksum" ]; then
	fail "$sums is not the file whose checksum was given: nothing was installed"
fi
wanted=$(tr -d '\r' <"$temporary/download/$sums" | awk -v file="$archive" '$2 == file || $2 == "*" file { print $1 }')
[[ $wanted =~ ^[0-9a-f]{64}$ ]] || fail "$sums has no checksum of $archive"
download "$archive"
[ "$(sha256 "$temporary/download/$archive")" = "$wanted" ] ||
	fail "$archive does not have the checksum that $sums names: nothing was installed"

if [ "$os" = windows ]; then
	unzip -q "$temporary/download/$archive" "$program" -d "$temporary/bin"
else
	tar -xzf "$temporary/download/$archive" -C "$temporary/bin" "$program"
	chmod 0755 "$temporary/bin/$program"
fi
"$temporary/bin/$program" version --client || fail "the program of $archive does not run here"

bin=$temporary/bin
if [ "$os" = windows ]; then bin=$(cygpath -w "$bin"); fi
printf '%s\n' "$bin" >>"$GITHUB_PATH"
printf 'version=%s\npath=%s\n' "$version" "$bin/$program" >>"$GITHUB_OUTPUT"
