#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# Shows that cosign and this program take each other's signatures, with each kind of key, in both layouts,
# and that neither takes one by another key. `make interop-cosign` runs it within `sandbox run`; by hand:
#
#   COSIGN=…/cosign KUSTOMIZER=…/kustomizer REGISTRY=127.0.0.1:5000 ./interop.sh
set -eu
keys=$(cd "$(dirname "$0")/../../internal/trust/testdata/cosign" && pwd)
: "${REGISTRY:=$(sed -n 's/.*"registry": *"\([^"]*\)".*/\1/p' "${KUSTOMIZER_SANDBOX:-.}/sandbox.json" | head -1)}"
export COSIGN_PASSWORD=fixture COSIGN_YES=true DO_NOT_TRACK=1
repo="$REGISTRY/interop-$$/app"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quiet() { "$@" >"$log" 2>&1 || { echo "FAILED: $*" >&2; cat "$log" >&2; exit 1; }; }
refused() { if "$@" >"$log" 2>&1; then echo "WENT THROUGH: $*" >&2; exit 1; fi; }

publish() { # TAG, OPTIONS...
	tag=$1; shift
	printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n' "$tag" >"$log.yaml"
	quiet "$KUSTOMIZER" push artifact "oci://$repo:$tag" -f "$log.yaml" "$@"
	rm -f "$log.yaml"
}

for key in p256 p384 p521 ed25519 rsa; do
	# cosign hashes with the curve's size where it signs, and wants to be told so where it verifies.
	hash=sha256
	case $key in p384) hash=sha384 ;; p521) hash=sha512 ;; esac
	for layout in bundle tag; do
		bundle=true
		[ "$layout" = bundle ] || bundle=false
		publish "ours-$layout-$key" --sign --cosign-key="$keys/$key.key" --signature-layout="$layout"
		quiet "$COSIGN" verify --key "$keys/$key.pub" --insecure-ignore-tlog --signature-digest-algorithm "$hash" "$repo:ours-$layout-$key"
		refused "$COSIGN" verify --key "$keys/stranger.pub" --insecure-ignore-tlog "$repo:ours-$layout-$key"
		echo "cosign verifies what kustomizer signs: $key, $layout"

		publish "theirs-$layout-$key"
		digest=$("$KUSTOMIZER" inspect artifact "oci://$repo:theirs-$layout-$key" -o json | sed -n 's/^  "digest": "\(.*\)",/\1/p')
		quiet "$COSIGN" sign --key "$keys/$key.key" --use-signing-config=false --tlog-upload=false --new-bundle-format=$bundle "$repo@$digest"
		quiet "$KUSTOMIZER" verify artifact "oci://$repo:theirs-$layout-$key" --cosign-key="$keys/$key.pub" --signature-layout="$layout"
		refused "$KUSTOMIZER" verify artifact "oci://$repo:theirs-$layout-$key" --cosign-key="$keys/stranger.pub"
		echo "kustomizer verifies what cosign signs: $key, $layout"
	done
done
