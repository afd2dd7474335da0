// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// TestClusterScripts runs what needs an API server: first on one that has no definitions of Flux's,
// then with them. No agent runs there; scripts play its part with "settle".
func TestClusterScripts(t *testing.T) {
	t.Parallel()
	cluster := testkit.OwnControlPlane(t, testkit.ControlPlane{NoControllerManager: true})
	nobody := cluster.User(t, "nobody")
	more := func(env *testscript.Env) error {
		namespace := strings.ReplaceAll(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"), "_", "-")
		namespaceObject := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}}
		_, err := cluster.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(t.Context(), namespaceObject, metav1.CreateOptions{})
		env.Values[clusterKey{}] = cluster
		env.Setenv("KUBECONFIG", cluster.Kubeconfig)
		env.Setenv("NOBODY_KUBECONFIG", nobody.Kubeconfig)
		env.Setenv("SERVER", cluster.Server)
		env.Setenv("CA_CERT", cluster.CACert)
		env.Setenv("KUSTOMIZER_NAMESPACE", namespace)
		env.Setenv("NAMESPACE", namespace)
		env.Setenv("PATH", env.Getenv("PATH")+string(filepath.ListSeparator)+filepath.Dir(cluster.KubectlPath))
		return err
	}
	t.Run("bare", func(t *testing.T) { runScripts(t, "testdata/bare/*.txtar", more) })
	for _, definition := range []string{"source.toolkit.fluxcd.io_ocirepositories", "kustomize.toolkit.fluxcd.io_kustomizations"} {
		cluster.Kubectl(t, "apply", "--server-side", "-f", "../../config/crd/"+definition+".yaml")
	}
	cluster.Kubectl(t, "wait", "--for=condition=Established", "crd", "--all")
	t.Run("cluster", func(t *testing.T) { runScripts(t, "testdata/cluster/*.txtar", more) })
}

type clusterKey struct{}

// settle plays the agent: "settle ocirepositories NAME FILE" waits until the resource is new, was
// changed, or is asked to be reconciled, and then sets its status to that of the file, in which
// $GENERATION and $REQUESTED stand for the resource's own.
func settle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: settle RESOURCE NAME FILE")
	}
	groups := map[string]string{"ocirepositories": "source.toolkit.fluxcd.io", "kustomizations": "kustomize.toolkit.fluxcd.io"}
	gvr := schema.GroupVersionResource{Group: groups[args[0]], Version: "v1", Resource: args[0]}
	client := ts.Value(clusterKey{}).(*testkit.Env).Dynamic.Resource(gvr).Namespace(ts.Getenv("NAMESPACE"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		u, err := client.Get(ctx, args[1], metav1.GetOptions{})
		if err == nil && wantsAnswer(u) {
			requested := u.GetAnnotations()["reconcile.fluxcd.io/requestedAt"]
			status := strings.NewReplacer("$GENERATION", fmt.Sprint(u.GetGeneration()), "$REQUESTED", requested).Replace(ts.ReadFile(args[2]))
			_, err = client.Patch(ctx, args[1], types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
			ts.Check(err)
			return
		}
		if err != nil && !apierrors.IsNotFound(err) {
			ts.Check(err)
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("nobody asked for %s %s: %v", args[0], args[1], errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func wantsAnswer(u *unstructured.Unstructured) bool {
	if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
		return false
	}
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
	return observed != u.GetGeneration() || handled != u.GetAnnotations()["reconcile.fluxcd.io/requestedAt"]
}
