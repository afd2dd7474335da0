// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// inFlight is how many requests the bare client has on the way.
const inFlight = 16

// bare returns how long the requests of a first apply take, each object first as a dry run and then in
// earnest, from a client that does nothing else: all is prepared, the order is that of the file, and no
// answer is looked at. It tells machines apart.
func (b *bench) bare(ctx context.Context, config string) (took time.Duration, err error) {
	b.count++
	namespace := fmt.Sprintf("bench-%d", b.count)
	if err := b.kubectl(ctx, "create", "namespace", namespace); err != nil {
		return 0, err
	}
	defer func() {
		if gone := b.kubectl(context.WithoutCancel(ctx), "delete", "namespace", namespace, "--wait"); err == nil {
			err = gone
		}
	}()
	patches, err := patchesOf(b.dir, namespace, b.objects)
	if err != nil {
		return 0, err
	}
	client, server, err := bareClient(config)
	if err != nil {
		return 0, err
	}
	if err := b.audit.settle(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	for _, query := range []string{"?fieldManager=bare&dryRun=All&fieldValidation=Strict", "?fieldManager=bare&fieldValidation=Ignore"} {
		if err := send(ctx, client, server, patches, query); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// patch is an object and where it is sent to.
type patch struct {
	path string
	body []byte
}

func patchesOf(dir, namespace string, objects int) ([]patch, error) {
	file := dir + "/bare.yaml"
	if err := writeManifests(file, namespace, objects, false); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	var out []patch
	for document := range strings.SplitSeq(string(content), "---\n") {
		if document == "" {
			continue
		}
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &u.Object); err != nil {
			return nil, fmt.Errorf("reading manifests: %w", err)
		}
		body, err := u.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("writing an object: %w", err)
		}
		root := "/api/v1"
		if u.GetAPIVersion() != "v1" {
			root = "/apis/" + u.GetAPIVersion()
		}
		resource := strings.ToLower(u.GetKind()) + "s" // true of those that are written here
		out = append(out, patch{path: root + "/namespaces/" + namespace + "/" + resource + "/" + u.GetName(), body: body})
	}
	return out, nil
}

func bareClient(config string) (*http.Client, string, error) {
	settings, err := clientcmd.BuildConfigFromFlags("", config)
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := rest.HTTPClientFor(settings)
	if err != nil {
		return nil, "", fmt.Errorf("connecting to the API server: %w", err)
	}
	return client, strings.TrimSuffix(settings.Host, "/"), nil
}

// send sends all patches and returns what went wrong first.
func send(ctx context.Context, client *http.Client, server string, patches []patch, query string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan patch)
	var senders sync.WaitGroup
	for range inFlight {
		senders.Go(func() {
			for p := range queue {
				if err := p.send(ctx, client, server+p.path+query); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, p := range patches {
		queue <- p
	}
	close(queue)
	senders.Wait()
	return context.Cause(ctx)
}

func (p patch) send(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader(p.body))
	if err != nil {
		return fmt.Errorf("sending a patch: %w", err)
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("sending a patch: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer for %s: %w", p.path, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("sending a patch to %s: %s: %s", p.path, resp.Status, answer)
	}
	return nil
}
