// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/report"
)

// eventFlags is the flags of the events command.
type eventFlags struct {
	output
	all, watch bool
	about      string
	types      []string
}

func newEventsCmd(a *app) *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened to sources and Kustomizations",
		Long: "Show the events of sources and Kustomizations, the newest last: which objects were created, configured,\n" +
			"deleted or corrected, and what failed. With --for, those of one, and of the source of a Kustomization.",
		Example: "  # Of a Kustomization and its source\n  kustomizer events --for kustomization/demo-app\n\n" +
			"  # Follow what goes wrong anywhere\n" +
			"  kustomizer events -A --types Warning --watch\n\n" +
			"  # For a script\n" +
			"  kustomizer events -o json",
		Args: positional(),
	}
	f.output.AddFlags(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "after the list, show new events until interrupted")
	cmd.Flags().StringVar(&f.about, "for", "", "only those of one kind or resource, as KIND or KIND/NAME")
	cmd.Flags().StringSliceVar(&f.types, "types", nil, "only those of these types: Normal, Warning")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, _ []string) error { return a.events(ctx, f) })
	return cmd
}

func (a *app) events(ctx context.Context, f eventFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.watch && f.format == formatYAML {
		return badUsage("", "--watch is for tables and JSON")
	}
	for i, t := range f.types {
		if f.types[i] = titled(t); f.types[i] != corev1.EventTypeNormal && f.types[i] != corev1.EventTypeWarning {
			return badUsage("", "--types %q is not one of Normal, Warning", t)
		}
	}
	sel := cluster.Selection{}
	c, ns, err := a.delivery()
	if err != nil {
		return err
	}
	if !f.all {
		sel.Namespace = ns
	}
	l := &eventListing{app: a, cluster: c, flags: f, selection: sel}
	if l.subjects, err = a.eventSubjects(ctx, c, ns, f.about); err != nil {
		return err
	}
	from, err := l.list(ctx)
	if err != nil || !f.watch {
		return err
	}
	return l.follow(ctx, from)
}

func titled(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}

// subject is a kind, or one resource, that events are about. Empty fields match all.
type subject struct{ kind, namespace, name string }

// eventSubjects reads --for KIND[/NAME]. A Kustomization's source belongs to it.
func (a *app) eventSubjects(ctx context.Context, c *cluster.Cluster, namespace, about string) ([]subject, error) {
	if about == "" {
		return nil, nil
	}
	word, name, _ := strings.Cut(about, "/")
	word = strings.ToLower(word)
	switch {
	case slices.Contains(ociRepositories().aliases, word):
		return []subject{{kind: ociRepositories().Kind, name: name}}, nil
	case !slices.Contains(kustomizations().aliases, word):
		return []subject{{kind: about[:len(word)], name: name}}, nil
	case name == "":
		return []subject{{kind: kustomizations().Kind}}, nil
	}
	r, err := read(ctx, c, kustomizations(), namespace, name)
	if err != nil {
		return nil, err
	}
	source := strings.Split(r.source, "/")
	if len(source) == 2 {
		source = []string{source[0], namespace, source[1]}
	}
	return []subject{{kind: r.id.Kind, namespace: namespace, name: name}, {kind: source[0], namespace: source[1], name: source[2]}}, nil
}

// eventListing is one events command at work.
type eventListing struct {
	app       *app
	cluster   *cluster.Cluster
	flags     eventFlags
	selection cluster.Selection
	subjects  []subject
	seen      map[types.UID]string // resource versions of events that need not be shown again
	headed    bool                 // the table's header was shown
}

func eventKind() schema.GroupKind { return schema.GroupKind{Kind: "Event"} }

// list shows the events that were not shown yet, the newest last, and returns the version of the
// list. What it has seen is all that is remembered.
func (l *eventListing) list(ctx context.Context) (string, error) {
	res, err := l.cluster.Resolve(ctx, eventKind(), "v1")
	if err != nil {
		return "", err
	}
	objects, from, err := l.cluster.List(ctx, res, l.selection)
	if err != nil {
		return "", fmt.Errorf("listing events: %w", err)
	}
	var found []corev1.Event
	seen := map[types.UID]string{}
	for _, u := range objects {
		event, err := readEvent(u)
		if err != nil {
			return "", err
		}
		seen[event.UID] = event.ResourceVersion
		if l.wants(event) && l.seen[event.UID] != event.ResourceVersion {
			found = append(found, event)
		}
	}
	l.seen = seen
	slices.SortStableFunc(found, func(a, b corev1.Event) int {
		return cmp.Or(lastSeen(a).Compare(lastSeen(b)), cmp.Compare(a.Name, b.Name))
	})
	return from, l.show(found)
}

func readEvent(u *unstructured.Unstructured) (corev1.Event, error) {
	var event corev1.Event
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &event); err != nil {
		return event, fmt.Errorf("reading the event %s: %w", u.GetName(), err)
	}
	event.APIVersion, event.Kind = "v1", "Event"
	return event, nil
}

// wants says whether an event is one of those asked for: without --for, all of Flux's kinds.
func (l *eventListing) wants(e corev1.Event) bool {
	if len(l.flags.types) > 0 && !slices.Contains(l.flags.types, e.Type) {
		return false
	}
	about := e.InvolvedObject
	if len(l.subjects) == 0 {
		return strings.Contains(about.APIVersion, ".toolkit.fluxcd.io/")
	}
	return slices.ContainsFunc(l.subjects, func(s subject) bool {
		return strings.EqualFold(s.kind, about.Kind) && (s.name == "" || s.name == about.Name) &&
			(s.namespace == "" || s.namespace == about.Namespace)
	})
}

func lastSeen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}

func (l *eventListing) show(events []corev1.Event) error {
	switch {
	case l.flags.structured() && !l.flags.watch:
		if events == nil {
			events = []corev1.Event{}
		}
		return l.app.print(l.flags.output, map[string]any{"apiVersion": "v1", "kind": "List", "items": events})
	case l.flags.structured():
		for _, e := range events {
			if err := l.showLine(e); err != nil {
				return err
			}
		}
		return nil
	case len(events) == 0 && !l.flags.watch:
		l.app.ui.Note("no events found")
		return nil
	}
	var rows [][]string
	for _, e := range events {
		rows = append(rows, l.rows(e)...)
	}
	header := []string{"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"}
	if l.flags.all {
		header = append([]string{"NAMESPACE"}, header...)
	}
	if l.headed {
		header = nil
	}
	l.headed = true
	l.app.table(header, rows)
	return nil
}

// rows returns the lines of an event: a longer message, such as a list of objects, goes on below
// its first line.
func (l *eventListing) rows(e corev1.Event) [][]string {
	age := "<unknown>"
	if seen := lastSeen(e); !seen.IsZero() {
		age = duration.HumanDuration(time.Since(seen))
	}
	lines := report.Lines(e.Message)
	first := []string{age, e.Type, e.Reason, e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, lines[0]}
	if l.flags.all {
		first = append([]string{e.InvolvedObject.Namespace}, first...)
	}
	rows := [][]string{first}
	for _, more := range lines[1:] {
		row := make([]string, len(first))
		row[len(row)-1] = more
		rows = append(rows, row)
	}
	return rows
}

func (l *eventListing) showLine(e corev1.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	l.app.ui.Data(append(line, '\n'))
	return nil
}

// follow shows new events until the context ends. When the server ends the watch, a list shows what
// happened in between.
func (l *eventListing) follow(ctx context.Context, from string) error {
	res, err := l.cluster.Resolve(ctx, eventKind(), "v1")
	if err != nil {
		return err
	}
	for {
		w, err := l.cluster.Watch(ctx, res, l.selection, from)
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return fmt.Errorf("watching events: %w", err)
		}
		if err == nil {
			if err := l.showNew(w); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rewatchDelay):
		}
		if from, err = l.list(ctx); err != nil {
			return err
		}
	}
}

func (l *eventListing) showNew(w watch.Interface) error {
	defer w.Stop()
	for change := range w.ResultChan() {
		u, ok := change.Object.(*unstructured.Unstructured)
		if !ok || change.Type != watch.Added && change.Type != watch.Modified {
			continue
		}
		event, err := readEvent(u)
		if err != nil {
			return err
		}
		l.seen[event.UID] = event.ResourceVersion
		if !l.wants(event) {
			continue
		}
		if l.flags.structured() {
			err = l.showLine(event)
		} else {
			l.app.table(nil, l.rows(event))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
