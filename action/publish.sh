#!/usr/bin/env bash
# Publishes an artifact with the kustomizer that is on the PATH, which itself writes the step's
# outputs and summary. What it is told is in the environment: see action.yml. No value becomes part
# of a command: each is one word, behind the name of its flag.
set -euo pipefail

fail() {
	local text=${1//'%'/%25}
	text=${text//$'\r'/%0D}
	printf '::error title=kustomizer::%s\n' "${text//$'\n'/%0A}"
	exit 1
}

[[ $INPUT_ARTIFACT == oci://* ]] || fail "artifact must begin with oci://, not \"$INPUT_ARTIFACT\""
[[ $INPUT_ARTIFACT != *$'\n'* ]] || fail "artifact must be one line"

arguments=()

# value adds a flag for a value that is not empty, values one for each line, and truth one that is on
# or off.
value() { if [ -n "$2" ]; then arguments+=("--$1=$2"); fi; }
values() {
	local line
	while IFS= read -r line || [ -n "$line" ]; do value "$1" "${line%$'\r'}"; done <<<"$2"
}
truth() {
	case $2 in
	'' | false) ;;
	true) arguments+=("--$1") ;;
	*) fail "$1 must be true or false, not \"$2\"" ;;
	esac
}
value kustomize "${INPUT_KUSTOMIZE:-}"
values filename "${INPUT_FILENAME:-}"
values patch "${INPUT_PATCH:-}"
value path "${INPUT_PATH:-}"
values tag "${INPUT_TAGS:-}"
values annotations "${INPUT_ANNOTATIONS:-}"
truth tag-only-if-newer "${INPUT_TAG_ONLY_IF_NEWER:-}"
truth no-overwrite "${INPUT_NO_OVERWRITE:-}"

# A login for this step only goes where no other step looks, and away at its end.
if [ -n "${INPUT_REGISTRY_USERNAME:-}" ]; then
	host=${INPUT_ARTIFACT#oci://}
	DOCKER_CONFIG=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/kustomizer.XXXXXX")
	export DOCKER_CONFIG
	trap 'rm -rf "$DOCKER_CONFIG"' EXIT
	printf '%s' "${INPUT_REGISTRY_PASSWORD:-}" |
		kustomizer login --username="$INPUT_REGISTRY_USERNAME" --password-stdin -- "${host%%/*}"
fi
unset INPUT_REGISTRY_PASSWORD

kustomizer push artifact ${arguments[@]+"${arguments[@]}"} -- "$INPUT_ARTIFACT"
