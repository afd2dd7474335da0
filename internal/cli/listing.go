// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// listing is one get command at work.
type listing struct {
	app       *app
	cluster   *cluster.Cluster
	flags     getFlags
	selection cluster.Selection
	names     []string
	keep      func(resource) bool
	prefixed  bool // names are shown as kind/name
}

// read lists the resources of each kind, and the version at which the last list was taken.
func (l listing) read(ctx context.Context, kinds []kind) (map[string][]resource, string, error) {
	found, from := map[string][]resource{}, ""
	for _, k := range kinds {
		all, version, err := list(ctx, l.cluster, k, l.selection)
		if err != nil {
			return nil, "", err
		}
		for _, name := range l.names {
			if !slices.ContainsFunc(all, func(r resource) bool { return r.id.Name == name }) {
				return nil, "", missing(k, l.selection.Namespace, name)
			}
		}
		found[k.Kind] = slices.DeleteFunc(all, func(r resource) bool { return !l.wants(r) })
		from = version
	}
	return found, from, nil
}

func (l listing) wants(r resource) bool {
	return l.keep(r) && (len(l.names) == 0 || slices.Contains(l.names, r.id.Name))
}

// show prints what was found in the chosen format.
func (l listing) show(kinds []kind, found map[string][]resource) error {
	var objects []any
	shown := false
	for _, k := range kinds {
		resources := found[k.Kind]
		if l.flags.format == formatTable && len(resources) > 0 {
			if shown {
				l.app.ui.Result("")
			}
			l.showTable(k, resources)
			shown = true
		}
		for _, r := range resources {
			objects = append(objects, r.object.Object)
			if l.flags.format == formatName {
				l.app.ui.Result("%s", resourceName(k, r))
			}
		}
	}
	if l.flags.structured() {
		return l.showObjects(objects)
	}
	if len(objects) == 0 {
		l.app.ui.Note("no resources found%s", l.where())
	}
	return nil
}

func (l listing) where() string {
	if l.selection.Namespace == "" {
		return ""
	}
	return " in namespace " + l.selection.Namespace
}

func (l listing) showTable(k kind, resources []resource) {
	rows := make([][]string, len(resources))
	for i, r := range resources {
		rows[i] = l.row(k, r)
	}
	l.app.table(l.header(), rows)
}

// showObjects prints the resources as they are: the one that was asked for by name, or a list.
func (l listing) showObjects(objects []any) error {
	switch {
	case l.flags.watch:
		for _, o := range objects {
			if err := l.jsonLine(o); err != nil {
				return err
			}
		}
		return nil
	case len(l.names) == 1 && len(objects) == 1:
		return l.app.print(l.flags.output, objects[0])
	default:
		if objects == nil {
			objects = []any{}
		}
		return l.app.print(l.flags.output, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	}
}

func (l listing) jsonLine(o any) error {
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	l.app.ui.Data(append(line, '\n'))
	return nil
}

// resourceName returns kind.group/name, which other commands take.
func resourceName(k kind, r resource) string {
	return strings.ToLower(k.Kind) + "." + k.Group + "/" + r.id.Name
}

// follow shows each change until the context ends. A watch that the server ends is opened again
// after a list.
func (l listing) follow(ctx context.Context, k kind, from string) error {
	res, err := l.cluster.Resolve(ctx, k.GroupKind(), k.Version)
	if err != nil {
		return err
	}
	seen := map[string]string{}
	for {
		w, err := l.cluster.Watch(ctx, res, l.selection, from)
		if err != nil {
			return fmt.Errorf("watching %s: %w", res.Resource, err)
		}
		if err := l.showEvents(k, w, seen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rewatchDelay):
		}
		var all []resource
		if all, from, err = list(ctx, l.cluster, k, l.selection); err != nil {
			return err
		}
		for _, r := range all {
			if err := l.showChange(k, r, seen); err != nil {
				return err
			}
		}
	}
}

func (l listing) showEvents(k kind, w watch.Interface, seen map[string]string) error {
	defer w.Stop()
	for event := range w.ResultChan() {
		u, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Bookmark || event.Type == watch.Deleted {
			continue
		}
		u.SetGroupVersionKind(k.GroupVersionKind)
		r, err := view(u)
		if err != nil {
			return err
		}
		if err := l.showChange(k, r, seen); err != nil {
			return err
		}
	}
	return nil
}

// showChange shows a resource whose line differs from the last that was shown for it.
func (l listing) showChange(k kind, r resource, seen map[string]string) error {
	if !l.wants(r) {
		return nil
	}
	row := l.row(k, r)
	line := strings.Join(row, "\x00")
	if seen[r.id.String()] == line {
		return nil
	}
	seen[r.id.String()] = line
	switch l.flags.format {
	case formatJSON:
		return l.jsonLine(r.object.Object)
	case formatName:
		l.app.ui.Result("%s", resourceName(k, r))
	default:
		l.app.table(nil, [][]string{row})
	}
	return nil
}
