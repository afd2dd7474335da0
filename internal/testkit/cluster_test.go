// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestRequestsCountsExactlyWhatAUserDid(t *testing.T) {
	t.Parallel()
	e := Cluster(t)
	maps := e.Kube.CoreV1().ConfigMaps(e.Namespace)
	mark := e.Mark(t)
	created, err := maps.Create(t.Context(), configMap("one"), metav1.CreateOptions{FieldManager: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	dry := []string{metav1.DryRunAll}
	if _, err := maps.Create(t.Context(), configMap("two"), metav1.CreateOptions{DryRun: dry}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "one", metav1.DeleteOptions{DryRun: dry}); err != nil {
		t.Fatal(err)
	}
	watch, err := maps.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	onlyThis := &metav1.Preconditions{UID: &created.UID, ResourceVersion: &created.ResourceVersion}
	if err := maps.Delete(t.Context(), "one", metav1.DeleteOptions{Preconditions: onlyThis}); err != nil {
		t.Fatal(err)
	}
	watch.Stop()

	all := e.Requests(t, ByUser(e.UserName), After(mark))
	if len(all) != 5 {
		t.Fatalf("want 5 requests, got\n%s", all)
	}
	writes := all.Writes()
	if len(writes) != 2 || writes[0].Verb != "create" || writes[0].FieldManager != "tester" || writes[1].Verb != "delete" {
		t.Fatalf("want a create and a delete, got\n%s", writes)
	}
	if writes[1].UID != string(created.UID) || writes[1].ResourceVersion != created.ResourceVersion || writes[1].Code != 200 {
		t.Errorf("the delete's preconditions are missing: %+v", writes[1])
	}
	if n := len(all.Of(Verbs("watch"))); n != 1 {
		t.Errorf("a watch that began and ended counts once, got %d", n)
	}
	if n := len(e.Requests(t, ByUser(e.UserName)).Of(Resources("namespaces"))); n != 1 {
		t.Errorf("before the mark one namespace was created, got %d requests", n)
	}
}

func TestUserMayOnlyDoWhatItIsGranted(t *testing.T) {
	t.Parallel()
	e := Cluster(t)
	nobody := e.User(t, "nobody-"+e.Namespace)
	kube, err := kubernetes.NewForConfig(nobody.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().Secrets(e.Namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("want forbidden, got %v", err)
	}
	e.Kubectl(t, "create", "rolebinding", "r", "-n", e.Namespace, "--clusterrole=edit", "--user="+nobody.UserName)
	Eventually(t, "using the role", 30*time.Second, func() error {
		_, err := kube.CoreV1().Secrets(e.Namespace).List(t.Context(), metav1.ListOptions{})
		return err
	})
}

func TestDeploymentsRollOutOnTheSimulatedNode(t *testing.T) {
	t.Parallel()
	e := Cluster(t)
	e.Kubectl(t, "-n", e.Namespace, "create", "deployment", "web", "--image=example.com/web:1", "--replicas=2")
	out := e.Kubectl(t, "-n", e.Namespace, "rollout", "status", "deployment/web", "--timeout=20s")
	if !strings.Contains(out, "successfully rolled out") {
		t.Errorf("kubectl said: %s", out)
	}
}

func TestOwnControlPlaneIsAnother(t *testing.T) {
	t.Parallel()
	shared := Cluster(t)
	own := OwnControlPlane(t, ControlPlane{Node: true})
	if own.Server == shared.Server {
		t.Fatal("the same API server")
	}
	id := func(e *Env) string {
		ns, err := e.Kube.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(ns.UID)
	}
	if id(own) == id(shared) {
		t.Error("the same cluster")
	}
	own.Kubectl(t, "-n", own.Namespace, "create", "deployment", "web", "--image=example.com/web:1")
	own.Kubectl(t, "-n", own.Namespace, "rollout", "status", "deployment/web", "--timeout=20s")
	if got := own.Requests(t, ByUser(shared.UserName)); len(got) != 0 {
		t.Errorf("requests of another cluster in its log:\n%s", got)
	}
}
