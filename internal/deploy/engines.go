// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// OtherEngineError says that Flux's own controllers, or an agent in another namespace, run in the
// cluster. Two engines on the same resources would undo each other's work.
type OtherEngineError struct {
	Deployments []object.ID
}

// Error implements error.
func (e *OtherEngineError) Error() string {
	names := make([]string, 0, len(e.Deployments))
	for _, id := range e.Deployments {
		names = append(names, id.String())
	}
	return "another engine runs in this cluster: " + strings.Join(names, ", ")
}

// Hint says how to make room without touching what the other engine deployed.
func (e *OtherEngineError) Hint() string {
	if len(e.Deployments) == 1 && e.Deployments[0].Name == AgentName {
		return "the agent is installed already: upgrade it with kustomizer install -n " + e.Deployments[0].Namespace
	}
	byNamespace := map[string][]string{}
	var namespaces []string
	for _, id := range e.Deployments {
		if byNamespace[id.Namespace] == nil {
			namespaces = append(namespaces, id.Namespace)
		}
		byNamespace[id.Namespace] = append(byNamespace[id.Namespace], id.Name)
	}
	commands := make([]string, 0, len(namespaces))
	for _, ns := range namespaces {
		commands = append(commands, fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=0", ns, strings.Join(byNamespace[ns], " ")))
	}
	return "two engines never run on the same resources: stop the other, then install again (what it deployed stays): " +
		strings.Join(commands, "; ")
}

// otherEngines picks, of the Deployments in the cluster, those that do the work of the agent in the
// given namespace: Flux's controllers, and agents in other namespaces. One that is scaled to zero
// does not count: it does nothing.
func otherEngines(deployments []*unstructured.Unstructured, namespace string) []object.ID {
	var found []object.ID
	for _, d := range deployments {
		if !scaledToZero(d) && (isFluxEngine(d) || isAgent(d) && d.GetNamespace() != namespace) {
			found = append(found, object.Of(d))
		}
	}
	object.SortIDs(found)
	return found
}

// scaledToZero tells whether nothing of a Deployment runs, nor will: what its status says of an
// earlier generation may be from before its pods were made.
func scaledToZero(d *unstructured.Unstructured) bool {
	replicas, set, err := unstructured.NestedInt64(d.Object, "spec", "replicas")
	running, _, _ := unstructured.NestedInt64(d.Object, "status", "replicas")
	observed, _, _ := unstructured.NestedInt64(d.Object, "status", "observedGeneration")
	return err == nil && set && replicas == 0 && running == 0 && observed >= d.GetGeneration()
}

func isAgent(d *unstructured.Unstructured) bool {
	return d.GetName() == AgentName && d.GetLabels()[PartOfLabel] == AgentName
}

// isFluxEngine knows Flux's controllers by their names, by their labels where they are shards with
// names of their own, or by their images.
func isFluxEngine(d *unstructured.Unstructured) bool {
	labels := d.GetLabels()
	if isEngineName(d.GetName()) || labels[PartOfLabel] == "flux" && isEngineName(labels["app.kubernetes.io/component"]) {
		return true
	}
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	return slices.ContainsFunc(containers, func(c any) bool {
		container, ok := c.(map[string]any)
		image, _ := container["image"].(string)
		return ok && isEngineName(imageName(image))
	})
}

func isEngineName(name string) bool {
	return name == "kustomize-controller" || name == "source-controller"
}

// imageName returns the last part of an image's repository.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndex(image, "/")+1:]
	name, _, _ := strings.Cut(image, ":")
	return name
}
