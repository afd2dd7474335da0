// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/base64"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// pushEncrypted publishes manifests that only those with the key can read.
func (a *arena) pushEncrypted(t *testing.T, name, tag, manifests, recipient string) string {
	t.Helper()
	client, err := registry.New(registry.Options{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	at, err := artifact.ParseTag(a.repositories.Repository(name) + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := secrets.ReadRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	located, err := object.Decode([]byte(manifests), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	req := deploy.PublishRequest{Client: client, Tag: at, Recipients: recipients}
	for _, l := range located {
		req.Objects = append(req.Objects, l.Object)
	}
	published, err := deploy.Publish(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return tag + "@" + published.Pinned.Digest().String()
}

func (a *arena) createSecret(t *testing.T, name string, data map[string]string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	if _, err := a.Kube.CoreV1().Secrets(a.Namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func ageKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func decryption(secret string) map[string]any {
	return map[string]any{"decryption": map[string]any{"provider": "sops", "secretRef": map[string]any{"name": secret}}}
}

// An artifact encrypted with age is deployed by those whose key it was encrypted for: the Kustomization's,
// else the agent's. Everybody else is told why not, and what ran before goes on running.
func TestAnEncryptedArtifactNeedsItsKey(t *testing.T) {
	t.Parallel()
	a, own, agents := newArena(t), ageKey(t), ageKey(t)
	const canary = "canary-of-the-plaintext"
	manifests := strings.ReplaceAll(configMaps("app", 1), "app", "sealed") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: sealed}\nstringData: {password: " + canary + "}\n"
	a.createSecret(t, "own", map[string]string{"me.agekey": own.String(), "other": "not a key"})
	a.createSecret(t, "agents", map[string]string{"age.agekey": agents.String()})
	a.createSecret(t, "useless", map[string]string{"sops.asc": "x"})
	sealed := a.pushEncrypted(t, "sealed", "1.0.0", manifests, own.Recipient().String())
	a.createSource(t, "sealed", "1.0.0", nil)
	for name, spec := range map[string]map[string]any{
		"with-key": decryption("own"), "without-key": {}, "missing": decryption("missing"), "useless": decryption("useless"),
	} {
		a.createKustomization(t, name, "sealed", merged(spec, map[string]any{"targetNamespace": a.Namespace}))
	}
	fallback := a.pushEncrypted(t, "fallback", "1.0.0", configMaps("fallback", 1), agents.Recipient().String())
	a.createSource(t, "fallback", "1.0.0", nil)
	a.createKustomization(t, "fallback", "fallback", map[string]any{"targetNamespace": a.Namespace})
	agent := a.start(t, a.agent, "--sops-age-secret=agents")

	a.waitForReady(t, "with-key", sealed)
	a.waitForReady(t, "fallback", fallback)
	got, err := a.Kube.CoreV1().Secrets(a.Namespace).Get(t.Context(), "sealed", metav1.GetOptions{})
	if err != nil || string(got.Data["password"]) != canary {
		t.Errorf("the Secret is %v, %v", got, err)
	}
	said := ""
	for name, says := range map[string]string{
		"without-key": "for none of the identities in Secret/" + a.Namespace + "/agents[age.agekey]",
		"missing":     "reading Secret/" + a.Namespace + "/missing with the keys: ",
		"useless":     "Secret/" + a.Namespace + "/useless has no key whose name ends in .agekey",
	} {
		ks := a.waitForReason(t, name, meta.BuildFailedReason)
		message := conditionOf(ks.Status.Conditions, meta.ReadyCondition).Message
		if !strings.Contains(message, says) {
			t.Errorf("%s: Ready says %q, not %q", name, message, says)
		}
		said += message
	}
	for _, secret := range []string{canary, own.String(), agents.String(), "AGE-SECRET"} {
		if strings.Contains(said+agent.Output(), secret) {
			t.Errorf("%q was said", secret)
		}
	}
	a.isStoredEncrypted(t, "sealed", canary)

	// With a key that does not fit any more, what runs stays.
	a.pushEncrypted(t, "sealed", "1.0.0", configMaps("another", 1), agents.Recipient().String())
	a.reconcile(t, repositoriesResource(), "sealed")
	ks := a.waitForReason(t, "with-key", meta.BuildFailedReason)
	if ks.Status.LastAppliedRevision != sealed {
		t.Errorf("it says that it applied %s", ks.Status.LastAppliedRevision)
	}
	if _, err := a.Kube.CoreV1().Secrets(a.Namespace).Get(t.Context(), "sealed", metav1.GetOptions{}); err != nil {
		t.Errorf("what ran is gone: %v", err)
	}
}

// isStoredEncrypted looks at all that the agent keeps on its disk, and at what it serves.
func (a *arena) isStoredEncrypted(t *testing.T, source, canary string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(a.storage, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		raw, err := os.ReadFile(name)
		if strings.Contains(string(raw), canary) {
			t.Errorf("%s holds the plaintext", name)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("looked at %d files, %v", files, err)
	}
	u, err := a.Dynamic.Resource(repositoriesResource()).Namespace(a.Namespace).Get(t.Context(), source, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	repo := &sourcev1.OCIRepository{}
	if err := convert(u, repo); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(repo.Status.Artifact.URL) //nolint:noctx // on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := make([]byte, 21)
	if _, err := resp.Body.Read(start); err != nil || string(start) != "age-encryption.org/v1" || !strings.HasSuffix(repo.Status.Artifact.Path, ".tar.gz.age") {
		t.Errorf("%s serves %q, %v", repo.Status.Artifact.Path, start, err)
	}
}

// An agent that starts anew works from the ciphertext in its store.
func TestAnEncryptedArtifactOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	a, key := newArena(t), ageKey(t)
	a.createSecret(t, "own", map[string]string{"me.agekey": key.String()})
	revision := a.pushEncrypted(t, "app", "1.0.0", configMaps("app", 1), key.Recipient().String())
	a.createSource(t, "app", "1.0.0", nil)
	a.createKustomization(t, "app", "app", merged(decryption("own"), map[string]any{"targetNamespace": a.Namespace}))
	agent := a.start(t, a.agent)
	a.waitForReady(t, "app", revision)
	agent.Stop(t, converges)
	before := len(a.repositories.Requests(t))
	for name := range a.configMapUIDs(t) {
		if err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a.start(t, a.agent)
	waitUntil(t, a.Dynamic.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(a.Namespace), "app-0", "is made again",
		func(*unstructured.Unstructured) error { return nil })
	for _, r := range a.repositories.Requests(t)[before:] {
		if strings.Contains(r.Path, "/blobs/") {
			t.Errorf("the artifact was pulled again: %s", r)
		}
	}
}

// What SOPS encrypted is not applied as if it were the value, with or without a word about decryption.
func TestWhatSOPSEncryptedIsNotApplied(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	const value = "ENC[AES256_GCM,data:8oNuUq3B4Q==,iv:O1Hk8Jc1=,tag:Rk3oB0cW==,type:str]"
	stanza := "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: \"" + value + "\"}\nsops: {mac: x, version: 3.13.3}\n"
	plain := "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata: {password: " + base64.StdEncoding.EncodeToString([]byte(value)) + "}\n"
	a.createSecret(t, "own", map[string]string{"me.agekey": ageKey(t).String()})
	a.push(t, "sops", "1.0.0", map[string]string{"a.yaml": stanza, "b.yaml": plain, "c.yaml": configMaps("c", 1)})
	a.createSource(t, "sops", "1.0.0", nil)
	for name, spec := range map[string]map[string]any{"bare": {}, "with-keys": decryption("own")} {
		a.createKustomization(t, name, "sops", merged(spec, map[string]any{"targetNamespace": a.Namespace}))
	}
	a.start(t, a.agent)
	for _, name := range []string{"bare", "with-keys"} {
		ks := a.waitForReason(t, name, meta.BuildFailedReason)
		want := "encrypted with SOPS, which this version does not decrypt: Secret/" + a.Namespace + "/a (sops), Secret/" + a.Namespace + "/b (data.password)"
		if message := conditionOf(ks.Status.Conditions, meta.ReadyCondition).Message; message != want {
			t.Errorf("%s: Ready says %q, not %q", name, message, want)
		}
	}
	if there := a.configMapUIDs(t); len(there) != 0 {
		t.Errorf("a part of it was applied: %v", there)
	}
}
