#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# Makes what is in this folder: keys, and artifacts in signatures.tar that the real cosign signed with
# them, in both layouts. The tests verify these; they are not made anew by them. To do that:
#
#   COSIGN=…/cosign KUSTOMIZER=…/kustomizer REGISTRY=127.0.0.1:5000 ./make.sh
#
# with cosign 3.1.3 (see bench/cosign), this program, and an empty registry with the referrers API.
set -eu
cd "$(dirname "$0")"
export COSIGN_PASSWORD=fixture COSIGN_YES=true DO_NOT_TRACK=1
repo="$REGISTRY/cosign/app"
rm -f ./*.key ./*.pub signatures.tar

"$COSIGN" generate-key-pair --output-key-prefix=p256
key() { # NAME, OPTIONS OF OPENSSL...
	name=$1; shift
	openssl genpkey "$@" -out "$name.pem"
	"$COSIGN" import-key-pair --key "$name.pem" --output-key-prefix="$name"
	rm "$name.pem"
}
key p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
key p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521
key ed25519 -algorithm ED25519
key rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
"$COSIGN" generate-key-pair --output-key-prefix=stranger
rm stranger.key

publish() { # TAG
	printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n' "$1" |
		"$KUSTOMIZER" push artifact "oci://$repo:$1" -f - -o json | jq -r .digest
}
sign() { # TAG, OPTIONS...
	tag=$1; shift
	digest=$(publish "$tag")
	"$COSIGN" sign --use-signing-config=false --tlog-upload=false "$@" "$repo@$digest"
}
for name in p256 p384 p521 ed25519 rsa; do
	sign "bundle-$name" --key "$name.key" --new-bundle-format=true
	sign "tag-$name" --key "$name.key" --new-bundle-format=false
done
sign annotated --key p256.key --new-bundle-format=false -a env=production
publish unsigned >/dev/null

# Not a signature, though made with the key: what it says is something else.
digest=$(publish attested)
echo '{"tests": "none"}' >predicate.json
"$COSIGN" attest --key p256.key --use-signing-config=false --tlog-upload=false --new-bundle-format=true \
	--type=https://example.com/tests --predicate=predicate.json "$repo@$digest"
rm predicate.json

for tag in bundle-p256 bundle-p384 bundle-p521 bundle-ed25519 bundle-rsa \
	tag-p256 tag-p384 tag-p521 tag-ed25519 tag-rsa annotated attested unsigned; do
	"$KUSTOMIZER" copy artifact "oci://$repo:$tag" "oci-layout:signatures.tar:$tag"
done
