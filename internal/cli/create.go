// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// creation is the group of flags that the create commands have in common.
type creation struct {
	export bool
	labels []string
}

// AddFlags adds the group to a command.
func (f *creation) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.export, "export", false, "print the YAML to standard output and touch nothing")
	fs.StringSliceVar(&f.labels, "label", nil, "labels for the object, as key=value")
}

// labelMap reads the labels.
func (f *creation) labelMap() (map[string]string, error) {
	out := map[string]string{}
	for _, label := range f.labels {
		key, value, found := strings.Cut(label, "=")
		wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
		if !found || len(wrong) > 0 {
			return nil, badUsage("", "--label %q is not key=value: %s", label, strings.Join(wrong, "; "))
		}
		out[key] = value
	}
	return out, nil
}

// reconciledCreation is the group for what the agent reconciles.
type reconciledCreation struct {
	creation
	interval time.Duration
}

// AddFlags adds the group to a command.
func (f *reconciledCreation) AddFlags(fs *pflag.FlagSet) {
	f.creation.AddFlags(fs)
	fs.DurationVar(&f.interval, "interval", time.Minute, "how often the agent looks after it")
}

// check says whether the flags make sense.
func (f *reconciledCreation) check(k kind, name string) error {
	if f.interval <= 0 {
		return badUsage("", "--interval must be more than zero")
	}
	return checkName(k.title, name)
}

// createReconciled creates or replaces a resource and waits until the agent has made it true.
func (a *app) createReconciled(ctx context.Context, k kind, want *unstructured.Unstructured, done func(resource)) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	a.ui.Action("applying %s", k.title)
	w, err := put(ctx, c, want, true, "spec")
	if err != nil {
		return err
	}
	if w.created {
		a.ui.Success("%s created", k.title)
	} else {
		a.ui.Success("%s updated", k.title)
	}
	r, err := view(w.object)
	if err != nil {
		return err
	}
	if r.suspended {
		a.ui.Warn("%s %s is suspended: it is not waited for", k.title, r.id.Name)
		return nil
	}
	a.ui.Wait("waiting for %s reconciliation", k.title)
	if r, err = a.awaitReady(ctx, c, k, r, w.request); err != nil {
		return err
	}
	done(r)
	return nil
}

// export prints an object as YAML, as a document of its own.
func (a *app) export(u *unstructured.Unstructured) error {
	data, err := yaml.Marshal(u.Object)
	if err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	a.ui.Data(append([]byte("---\n"), data...))
	return nil
}

func newCreateCmd(a *app) *cobra.Command {
	return verb("create", "Create or update what the agent works from",
		verb("source", "Create or update sources", newCreateSourceOCICmd(a)),
		newCreateKustomizationCmd(a),
		verb("secret", "Create or update Secrets", newCreateSecretOCICmd(a)),
	)
}
