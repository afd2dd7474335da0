// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// newFaultyArena makes an arena whose registry is the test's own, to be tampered with.
func newFaultyArena(t *testing.T) (*arena, *testkit.MemoryRegistry) {
	t.Helper()
	a, m := newArena(t), testkit.MemRegistry(t)
	a.repositories = &testkit.Repositories{Host: m.Host, Prefix: "test"}
	return a, m
}

// often has everything looked at in short intervals.
func often() map[string]any { return map[string]any{"interval": "1s"} }

// deployOften deploys manifests by resources with short intervals and waits until it is done.
func (a *arena) deployOften(t *testing.T, name, manifests string) string {
	t.Helper()
	revision := a.push(t, name, "1.0.0", map[string]string{"objects.yaml": manifests})
	a.createSource(t, name, "1.0.0", often())
	a.createKustomization(t, name, name, map[string]any{"targetNamespace": a.Namespace, "interval": "1s", "retryInterval": "1s"})
	return revision
}

// wrapper stands between the agent and its registry.
type wrapper = func(next http.Handler) http.Handler

// answer answers the agent's requests that pass a filter, in the place of the registry.
func answer(which func(*http.Request) bool, with http.HandlerFunc) wrapper {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.HasPrefix(req.UserAgent(), "kustomizer/") && which(req) { // the test's own client has no version
				with(w, req)
				return
			}
			next.ServeHTTP(w, req)
		})
	}
}

func every(*http.Request) bool { return true }

func asksFor(part string) func(*http.Request) bool {
	return func(req *http.Request) bool { return strings.Contains(req.URL.Path, part) }
}

func fetches(part string) func(*http.Request) bool {
	return func(req *http.Request) bool {
		return req.Method == http.MethodGet && strings.Contains(req.URL.Path, part)
	}
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// tampered passes on what the registry answers with another body.
func tampered(which func(*http.Request) bool, body func(w http.ResponseWriter, right []byte)) wrapper {
	return func(next http.Handler) http.Handler {
		return answer(which, func(w http.ResponseWriter, req *http.Request) {
			right := httptest.NewRecorder()
			next.ServeHTTP(right, req)
			maps.Copy(w.Header(), right.Header())
			w.WriteHeader(right.Code)
			body(w, right.Body.Bytes())
		})(next)
	}
}

// otherBytes answers with as many bytes as there should be, but others.
func otherBytes(w http.ResponseWriter, right []byte) {
	wrong := bytes.Clone(right)
	wrong[len(wrong)/2] ^= 1
	_, _ = w.Write(wrong)
}

func halfOfIt(w http.ResponseWriter, right []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(right)))
	_, _ = w.Write(right[:len(right)/2])
	panic(http.ErrAbortHandler)
}

func loginPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<html>log in</html>")
}

// drift deletes one of the objects and waits until it is back.
func (a *arena) drift(t *testing.T, name string) {
	t.Helper()
	here := a.Kube.CoreV1().ConfigMaps(a.Namespace)
	old, err := here.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := here.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, name+" is put back", converges, func() error {
		cm, err := here.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && cm.UID == old.UID {
			err = apierrors.NewConflict(corev1.Resource("configmaps"), name, nil)
		}
		return err
	})
}

// What runs does not depend on the registry: it is left as it is and put back from the store, also
// by an agent that comes up meanwhile. What does not change is told once.
func TestARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	a, m := newFaultyArena(t)
	first := a.deployOften(t, "app", configMaps("app", 3))
	agent := a.start(t, a.agent)
	a.waitForReady(t, "app", first)

	m.Wrap(answer(every, hangUp))
	message := a.waitForReasonOf(t, repositoriesResource(), "app", sourcev1.OCIPullFailedReason)
	if !strings.Contains(message, "Unreachable") {
		t.Errorf("Ready says %q", message)
	}
	a.drift(t, "app-0")
	mark, asked := a.Mark(t), len(m.Requests())
	testkit.Eventually(t, "polling on", converges, func() error {
		if n := len(m.Requests()) - asked; n < 9 { // three polls, each of which tries three times
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	if writes := a.requests(t, testkit.After(mark)).Writes().Of(testkit.Resources("ocirepositories")); len(writes) > 0 {
		t.Errorf("the same trouble was told again:\n%s", writes)
	}
	if n := a.saidOf(t, aSource, "app", sourcev1.OCIPullFailedReason, message); n != 1 {
		t.Errorf("the same trouble was told by %d events", n)
	}

	agent.Kill()
	agent = a.start(t, a.agent)
	a.drift(t, "app-1")
	a.waitForReady(t, "app", first)

	m.Wrap(nil)
	a.waitForSource(t, "app", first)
	second := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 2)})
	a.waitForReady(t, "app", second)
	if deleted := a.requests(t, testkit.Verbs("delete")); len(deleted) != 1 || deleted[0].Name != "app-2" {
		t.Errorf("want one deletion, of app-2, got:\n%s", deleted)
	}
	if code := agent.Stop(t, converges); code != 0 {
		t.Errorf("stopped with code %d", code)
	}
}

// Whatever a registry answers that is not the artifact: nothing is applied, nothing deleted, what runs
// is ready, and it goes on as soon as the registry does.
func TestAnswersThatAreNoArtifact(t *testing.T) {
	t.Parallel()
	a, m := newFaultyArena(t)
	first := a.deployOften(t, "app", configMaps("app", 3))
	a.start(t, a.agent)
	a.waitForReady(t, "app", first)
	before := a.configMapUIDs(t)
	for _, c := range []struct {
		name string
		wrap wrapper
		says string
	}{
		{"the tag is gone", answer(asksFor("/manifests/"), status(http.StatusNotFound)), "NotFound"},
		{"the repository is closed", answer(asksFor("/manifests/"), status(http.StatusForbidden)), "Forbidden"},
		{"the server fails", answer(every, status(http.StatusInternalServerError)), "ServerError"},
		{"other bytes of the layer", tampered(fetches("/blobs/"), otherBytes), "DigestMismatch"},
		{"other bytes of the manifest", tampered(fetches("/manifests/"), otherBytes), "DigestMismatch"},
		{"half of the layer", tampered(fetches("/blobs/"), halfOfIt), "Unreachable"},
		{"a page to log in", answer(fetches("/manifests/"), loginPage), "DigestMismatch"},
	} {
		m.Wrap(c.wrap)
		// A layer that the store lacks. A fetch that is under way when the fault ends may end well.
		a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 3) + "# " + c.name})
		a.wait(t, repositoriesResource(), "app", "says "+c.says, func(u *unstructured.Unstructured) error {
			if ready := readyOf(t, u); ready.Status != metav1.ConditionFalse || !strings.Contains(ready.Message, ": "+c.says) {
				return fmt.Errorf("%s: Ready is %+v", c.name, ready)
			}
			return nil
		})
		if err := readyWith(a.lookAgain(t, "app"), first); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 3)})
		m.Wrap(nil)
		a.waitForSource(t, "app", first)
	}
	if after := a.configMapUIDs(t); !maps.Equal(before, after) {
		t.Errorf("objects were %v and are %v", before, after)
	}
	if deleted := a.requests(t, testkit.Verbs("delete", "deletecollection")); len(deleted) > 0 {
		t.Errorf("the agent deleted:\n%s", deleted)
	}
}

// A registry that asks to be left alone is, by all sources, and is asked again when it said.
func TestARegistryThatAsksToBeLeftAlone(t *testing.T) {
	t.Parallel()
	const alone = 11 * time.Second // more than a single call waits by itself
	a, m := newFaultyArena(t)
	first := a.deployOften(t, "app", configMaps("app", 1))
	a.push(t, "other", "1.0.0", map[string]string{"objects.yaml": configMaps("other", 1)})
	a.createSource(t, "other", "1.0.0", often())
	a.start(t, a.agent)
	a.waitForReady(t, "app", first)

	var mu sync.Mutex
	var refused, next time.Time
	m.Wrap(answer(func(req *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if refused.IsZero() {
			refused = time.Now()
			return true
		}
		if next.IsZero() && time.Since(refused) > time.Second { // what was under way may come in still
			next = time.Now()
		}
		return false
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", fmt.Sprint(int(alone.Seconds())))
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	second := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 2)})
	a.waitForSource(t, "app", second)
	mu.Lock()
	defer mu.Unlock()
	if waited := next.Sub(refused); waited < alone-time.Second {
		t.Errorf("asked again after %s, not %s", waited, alone)
	}
}

func TestARegistryThatHangs(t *testing.T) {
	t.Parallel()
	a, m := newFaultyArena(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	m.Wrap(answer(every, func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-req.Context().Done():
		case <-release:
		}
	}))
	a.createSource(t, "app", "1.0.0", map[string]any{"timeout": "1s"})
	a.start(t, a.agent)
	if message := a.waitForReasonOf(t, repositoriesResource(), "app", sourcev1.OCIPullFailedReason); !strings.Contains(message, "TimedOut") {
		t.Errorf("Ready says %q", message)
	}
}

// What the disk lost is fetched again, although the registry still holds the same.
func TestAStoreThatLostItsContent(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deploy(t, "app", configMaps("app", 2), nil)
	agent := a.start(t, a.agent)
	a.waitForReady(t, "app", revision)

	blobs, err := filepath.Glob(filepath.Join(a.storage, "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("the store holds %v (%v)", blobs, err)
	}
	if err := os.WriteFile(blobs[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.reconcile(t, kustomizationsResource(), "app")
	a.waitForHandled(t, kustomizationsResource(), "app")
	a.reconcile(t, repositoriesResource(), "app")
	a.waitForReady(t, "app", revision)
	a.drifted(t, "app-0")

	agent.Kill()
	if err := os.RemoveAll(a.storage); err != nil {
		t.Fatal(err)
	}
	a.start(t, a.agent)
	a.drifted(t, "app-1")
	a.waitForReady(t, "app", revision)
	if deleted := a.requests(t, testkit.Verbs("delete", "deletecollection")); len(deleted) > 0 {
		t.Errorf("the agent deleted:\n%s", deleted)
	}
}

// drifted deletes one of the objects and has the Kustomization looked at until it is back.
func (a *arena) drifted(t *testing.T, name string) {
	t.Helper()
	here := a.Kube.CoreV1().ConfigMaps(a.Namespace)
	if err := here.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.reconcile(t, kustomizationsResource(), "app")
	testkit.Eventually(t, name+" is put back", converges, func() error {
		_, err := here.Get(t.Context(), name, metav1.GetOptions{})
		return err
	})
}
