// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/store"
)

// artifacts knows which artifact each source has fetched. Its bytes are in the store, by digest;
// it renders them for Kustomizations and serves them to other consumers of status.artifact.url.
type artifacts struct {
	store *store.Store
	work  string // directory for unpacked trees

	mu      sync.RWMutex
	current map[types.NamespacedName]fetched
}

// fetched is the artifact of one source.
type fetched struct {
	revision    string
	layer       artifact.Descriptor
	annotations map[string]string // of the manifest
}

// contentsMissingError says that a source's artifact is not in the store: it is being fetched.
type contentsMissingError struct {
	source   types.NamespacedName
	revision string
}

func (e *contentsMissingError) Error() string {
	return fmt.Sprintf("OCIRepository/%s has not fetched %s yet", e.source, e.revision)
}

// looksEmpty says whether others would take the artifact for one without manifests: an archive with
// nothing in it but an encrypted file, as Kustomizer 2 makes it.
func (f fetched) looksEmpty() bool {
	return f.annotations[artifact.AnnotationEncrypted] != "" && !artifact.IsEncrypted(f.layer.MediaType)
}

func newArtifacts(st *store.Store, work string) *artifacts {
	return &artifacts{store: st, work: work, current: map[types.NamespacedName]fetched{}}
}

// put makes an artifact the current one of a source. Its blob stays in the store as long as it is.
func (a *artifacts) put(source types.NamespacedName, f fetched) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, had := a.current[source]
	a.store.Retain(f.layer.Digest)
	if had {
		a.store.Release(old.layer.Digest)
	}
	a.current[source] = f
}

// drop forgets a source.
func (a *artifacts) drop(source types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, had := a.current[source]; had {
		a.store.Release(old.layer.Digest)
		delete(a.current, source)
	}
}

func (a *artifacts) get(source types.NamespacedName) (fetched, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	f, ok := a.current[source]
	return f, ok
}

// stored returns the revision of a source's artifact, or nothing where its bytes are gone, so that
// they are fetched again.
func (a *artifacts) stored(source types.NamespacedName) string {
	f, ok := a.get(source)
	if !ok || !a.store.Has(f.layer.Digest) {
		return ""
	}
	return f.revision
}

// Objects implements contents.
func (a *artifacts) Objects(ctx context.Context, source types.NamespacedName, revision string, view deploy.View) ([]*unstructured.Unstructured, string, error) {
	f, ok := a.get(source)
	if !ok || f.revision != revision || !a.store.Has(f.layer.Digest) {
		return nil, "", &contentsMissingError{source: source, revision: revision}
	}
	return deploy.Render(ctx, a.store, f.layer, view, a.work)
}

// servedPath is where a source's artifact is served, under the names that Flux uses.
func servedPath(source types.NamespacedName, layer artifact.Descriptor) string {
	return path.Join("ocirepository", source.Namespace, source.Name, layer.Digest.Hex()+extension(layer.MediaType))
}

// extension names the form of a layer; [mediaTypeOf] reads it back.
func extension(mediaType string) string {
	switch {
	case artifact.IsEncrypted(mediaType):
		return extension(artifact.ContentType(mediaType)) + ".age"
	case strings.HasSuffix(mediaType, "gzip"):
		return ".tar.gz"
	case strings.HasSuffix(mediaType, "zstd"):
		return ".tar.zst"
	default:
		return ".tar"
	}
}

// mediaTypeOf returns the media type of an artifact by the path at which it is served.
func mediaTypeOf(servedAt string) string {
	switch {
	case strings.HasSuffix(servedAt, ".age"):
		return mediaTypeOf(strings.TrimSuffix(servedAt, ".age")) + "+age"
	case strings.HasSuffix(servedAt, ".tar.gz"):
		return "application/vnd.oci.image.layer.v1.tar+gzip"
	case strings.HasSuffix(servedAt, ".tar.zst"):
		return "application/vnd.oci.image.layer.v1.tar+zstd"
	default:
		return "application/vnd.oci.image.layer.v1.tar"
	}
}

// ServeHTTP serves the current artifact of each source, and nothing else.
func (a *artifacts) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	parts := strings.Split(strings.Trim(path.Clean(req.URL.Path), "/"), "/")
	if req.Method != http.MethodGet && req.Method != http.MethodHead || len(parts) != 4 {
		http.NotFound(w, req)
		return
	}
	source := types.NamespacedName{Namespace: parts[1], Name: parts[2]}
	f, ok := a.get(source)
	if !ok || servedPath(source, f.layer) != strings.Join(parts, "/") || f.looksEmpty() {
		http.NotFound(w, req)
		return
	}
	blob, err := a.store.Open(req.Context(), f.layer.Digest)
	if err != nil {
		http.NotFound(w, req)
		return
	}
	defer blob.Close()
	info, err := blob.Stat()
	if err != nil {
		http.NotFound(w, req)
		return
	}
	http.ServeContent(w, req, parts[3], info.ModTime(), blob)
}
