// SPDX-License-Identifier: Apache-2.0

// Package artifact is the format in which Kubernetes configuration travels through a container
// registry: references, digests, media types and annotations, packing and safe unpacking. It works
// on bytes and files and never on the network.
//
// A [Tag] can be moved by anyone who may push; a [Pinned] names bytes. They are different types, so
// that what verifies, pulls or signs can't be given a tag by mistake. Resolving one to the other is
// the job of package registry.
//
// An artifact is an OCI image manifest with a small config, one layer and annotations. [PackYAML]
// makes one whose digest depends on the content and the annotations only. [Extract] unpacks what
// anybody pushed: everything in an archive is suspect until the last byte was looked at, and one
// bad entry refuses the whole archive with a [RefusedError].
package artifact
