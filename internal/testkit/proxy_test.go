// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

func through(t *testing.T, e *Env, p *Proxy) typedcorev1.ConfigMapInterface {
	t.Helper()
	kube, err := kubernetes.NewForConfig(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	return kube.CoreV1().ConfigMaps(e.Namespace)
}

func create(t *testing.T, maps typedcorev1.ConfigMapInterface, name string) error {
	t.Helper()
	_, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{})
	return err
}

func exists(t *testing.T, e *Env, name string) bool {
	t.Helper()
	_, err := e.Kube.CoreV1().ConfigMaps(e.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func TestProxyForwardsAsItsUserAndStreamsWatches(t *testing.T) {
	t.Parallel()
	e := Cluster(t)
	user := e.User(t, "through-"+e.Namespace, "system:masters")
	p := FaultProxy(t, e, user, nil)
	maps := through(t, e, p)
	watch, err := maps.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=seen"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if err := create(t, maps, "seen"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-watch.ResultChan():
	case <-time.After(30 * time.Second):
		t.Error("the watch's event was held back")
	}
	if got := e.Requests(t, ByUser(user.UserName)); len(got) != 2 {
		t.Errorf("want a watch and a create, got\n%s", got)
	}
	if got := p.Writes(); len(got) != 1 {
		t.Errorf("want one write, got\n%s", got)
	}
}

func TestProxyFaults(t *testing.T) {
	t.Parallel()
	e := Cluster(t)
	var called atomic.Int32
	count := func() { called.Add(1) }
	faults := map[string]Fault{
		"refused":   {Status: http.StatusForbidden},
		"cut":       {Cut: true},
		"cut-after": {CutAfter: true},
		"called":    {Before: count, After: count, Delay: time.Millisecond},
	}
	next := make(chan string, 1)
	p := FaultProxy(t, e, e.Identity, func(r Request) Fault {
		if !Verbs("create")(r) {
			return Fault{}
		}
		return faults[<-next]
	})
	maps := through(t, e, p)
	attempt := func(name string) error {
		next <- name
		return create(t, maps, name)
	}
	if err := attempt("refused"); !apierrors.IsForbidden(err) || exists(t, e, "refused") {
		t.Errorf("refused: got %v", err)
	}
	if err := attempt("cut"); err == nil || exists(t, e, "cut") {
		t.Errorf("cut: the request went through: %v", err)
	}
	if err := attempt("cut-after"); err == nil || !exists(t, e, "cut-after") {
		t.Errorf("cut after: want a write and no answer, got %v", err)
	}
	if err := attempt("called"); err != nil || called.Load() != 2 {
		t.Errorf("called: got %v and %d calls", err, called.Load())
	}
}

func TestKillAtAWrite(t *testing.T) {
	t.Parallel()
	for _, moment := range []Moment{BeforeWrite, AfterWrite} {
		t.Run(string(moment), func(t *testing.T) {
			t.Parallel()
			e := Cluster(t)
			p := FaultProxy(t, e, e.Identity, nil)
			maps := through(t, e, p)
			var killed atomic.Bool
			done := p.KillAt(2, moment, func() { killed.Store(true) })
			dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
			if _, err := maps.Create(t.Context(), configMap("dry"), dry); err != nil {
				t.Fatal(err)
			}
			if err := create(t, maps, "first"); err != nil || killed.Load() {
				t.Fatalf("killed too early: %v", err)
			}
			if err := create(t, maps, "second"); err == nil {
				t.Error("the killing write was answered")
			}
			<-done
			if err := create(t, maps, "third"); err == nil || exists(t, e, "third") {
				t.Error("a killed client went on writing")
			}
			if got, want := exists(t, e, "second"), moment == AfterWrite; got != want {
				t.Errorf("the second object is there: %v, want %v", got, want)
			}
			p.Restore()
			if err := create(t, maps, "fourth"); err != nil {
				t.Errorf("after Restore: %v", err)
			}
			if n := len(p.Writes()); n != 3 {
				t.Errorf("want 3 writes counted, got %d", n)
			}
		})
	}
}
