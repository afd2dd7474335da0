// SPDX-License-Identifier: Apache-2.0

package artifact

import "strings"

// ParseImage reads the image of a container as Kubernetes does: without a tag it is latest, and of a
// tag and a digest the digest counts.
func ParseImage(image string) (Reference, error) {
	if name, digest, found := strings.Cut(image, "@"); found {
		name, _, _ = cutTag(name)
		image = name + "@" + digest
	}
	ref, err := ParseReference(image)
	if err != nil || !ref.IsRepository() {
		return ref, err
	}
	ref.tag = "latest"
	return ref, nil
}

// ImageName returns the name of an image without its tag and digest, as kustomize takes it.
func ImageName(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name, _, _ = cutTag(name)
	return name
}
