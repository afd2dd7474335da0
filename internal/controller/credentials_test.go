// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// A certificate that nobody vouches for is accepted where the source says so, and only there.
func TestAnUnknownCertificate(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	quiet := log.New(io.Discard, "", 0)
	server := httptest.NewUnstartedServer(ggcr.New(ggcr.Logger(quiet)))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "https://")
	client, err := registry.New(registry.Options{Insecure: true, SkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	revision := pushBy(t, client, host+"/app:1.0.0", configMaps("app", 1))
	for name, insecure := range map[string]bool{"trusting": true, "wary": false} {
		a.createSource(t, name, "1.0.0", map[string]any{"url": "oci://" + host + "/app", "insecure": insecure})
	}
	a.start(t, a.agent)
	a.waitForSource(t, "trusting", revision)
	if message := a.waitForReasonOf(t, repositoriesResource(), "wary", sourcev1.OCIPullFailedReason); !strings.Contains(message, "TLS") {
		t.Errorf("Ready says %q", message)
	}
}

// pushBy publishes manifests with a client of its own.
func pushBy(t *testing.T, client *registry.Client, tag, manifests string) string {
	t.Helper()
	at, err := artifact.ParseTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	packed := pack(t, archive(t, files(map[string]string{"objects.yaml": manifests})))
	if _, err := client.Push(t.Context(), at, packed); err != nil {
		t.Fatalf("publishing %s: %v", at, err)
	}
	return at.Name() + "@" + packed.Digest.String()
}

// dockerConfig is what a Secret for a registry holds.
func dockerConfig(host, username, password string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)
}

func TestCredentialsOfASource(t *testing.T) {
	t.Parallel()
	a, private := newArena(t), testkit.PrivateRegistry(t)
	credentials, err := registry.NewSecret(dockerConfig(private.Host, private.Username, private.Password), "the test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := registry.New(registry.Options{Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	revision := pushBy(t, client, private.Repository("app")+":1.0.0", configMaps("app", 1))
	secret := func(name string, kind corev1.SecretType, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: data}
	}
	right := map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(private.Host, private.Username, private.Password)}
	const wrongPassword = "not-the-password"
	wrong := map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(private.Host, private.Username, wrongPassword)}
	secrets := a.Kube.CoreV1().Secrets(a.Namespace)
	for _, s := range []*corev1.Secret{
		secret("right", corev1.SecretTypeDockerConfigJson, right), secret("wrong", corev1.SecretTypeDockerConfigJson, wrong),
		secret("opaque", corev1.SecretTypeOpaque, right),
	} {
		if _, err := secrets.Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"right", "wrong", "opaque", "missing", "none"} {
		spec := map[string]any{"url": "oci://" + private.Repository("app"), "interval": "2s"}
		if name != "none" {
			spec["secretRef"] = map[string]any{"name": name}
		}
		a.createSource(t, name, "1.0.0", spec)
	}
	a.start(t, a.agent)
	a.waitForSource(t, "right", revision)
	for name, says := range map[string]string{
		"wrong": "Unauthorized", "none": "Unauthorized",
		"missing": "Secret/" + a.Namespace + "/missing: ", "opaque": "Secret/" + a.Namespace + "/opaque is of type Opaque, not kubernetes.io/dockerconfigjson",
	} {
		message := a.waitForReasonOf(t, repositoriesResource(), name, sourcev1.AuthenticationFailedReason)
		if !strings.Contains(message, says) || strings.Contains(message, wrongPassword) {
			t.Errorf("%s: Ready says %q", name, message)
		}
	}

	// Once a Secret is right, so is all that uses it, without anybody asking.
	if _, err := secrets.Update(t.Context(), secret("wrong", corev1.SecretTypeDockerConfigJson, right), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Create(t.Context(), secret("missing", corev1.SecretTypeDockerConfigJson, right), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	a.waitForSource(t, "wrong", revision)
	a.waitForSource(t, "missing", revision)
}
