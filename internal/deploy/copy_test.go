// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

// signed publishes an artifact and something that names it as its subject, for a registry without an
// API for that.
func (p *place) signed(t *testing.T) (artifact.Pinned, artifact.Digest) {
	t.Helper()
	got := p.publish(t, "a")
	raw, mediaType, err := p.client.Manifest(t.Context(), got.Pinned)
	if err != nil {
		t.Fatal(err)
	}
	subject := artifact.Descriptor{MediaType: mediaType, Digest: got.Pinned.Digest(), Size: int64(len(raw))}
	content := artifact.Blob{
		Descriptor: artifact.Descriptor{MediaType: "application/vnd.acme.signature", Digest: artifact.DigestOf([]byte("{}")), Size: 2},
		Open:       artifact.BytesOpener([]byte("{}")),
	}
	at, err := p.tag.Repository().Tag("signature")
	if err != nil {
		t.Fatal(err)
	}
	signature := p.pushManifest(t, at, artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: "application/vnd.acme.signature",
		Config: &content.Descriptor, Layers: []artifact.Descriptor{content.Descriptor}, Subject: &subject,
	}, content, content)
	index, err := json.Marshal(artifact.Manifest{SchemaVersion: 2, MediaType: artifact.MediaTypeIndex, Manifests: []artifact.Descriptor{signature}})
	if err != nil {
		t.Fatal(err)
	}
	fallback, err := p.tag.Repository().Tag(artifact.ReferrersTag(subject.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.Point(t.Context(), fallback, artifact.DigestOf(index), artifact.MediaTypeIndex, index); err != nil {
		t.Fatal(err)
	}
	return got.Pinned, signature.Digest
}

func TestReferrersTravelThroughAFolder(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	pinned, signature := p.signed(t)
	file := filepath.Join(t.TempDir(), "app.tar")
	if _, err := deploy.CopyArtifact(t.Context(), deploy.CopyRequest{
		Client: p.client, From: deploy.CopyPlace{Reference: p.tag.Reference()}, To: deploy.CopyPlace{Layout: file}, Referrers: true,
	}); err != nil {
		t.Fatal(err)
	}
	mirror, err := artifact.ParseReference(p.reg.Host + "/mirror/app")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to do
		got, err := deploy.CopyArtifact(t.Context(), deploy.CopyRequest{
			Client: p.client, From: deploy.CopyPlace{Layout: file}, To: deploy.CopyPlace{Reference: mirror}, Referrers: true,
		})
		if err != nil || got.Digest != pinned.Digest() || got.Referrers != 1 || got.Tag != "latest" {
			t.Errorf("got %+v, %v", got, err)
		}
		found, err := p.client.Referrers(t.Context(), mirror.Repository().At(pinned.Digest()))
		if err != nil || len(found) != 1 || found[0].Digest != signature || found[0].ArtifactType != "application/vnd.acme.signature" {
			t.Errorf("referrers %+v, %v", found, err)
		}
	}
	inspected, err := deploy.Inspect(t.Context(), deploy.PullRequest{Client: p.client, Reference: mirror.Repository().At(pinned.Digest()).Reference()})
	if err != nil || len(inspected.Referrers) != 1 || inspected.Referrers[0].Type != "application/vnd.acme.signature" {
		t.Errorf("inspected %+v, %v", inspected.Referrers, err)
	}
}
