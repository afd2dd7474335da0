// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/report"
)

// configuration is what the file ~/.kustomizer/config says, in Kustomizer's format.
type configuration struct {
	APIVersion   string       `json:"apiVersion"`
	Kind         string       `json:"kind"`
	ApplyOrder   applyOrder   `json:"applyOrder"`
	FieldManager managerNames `json:"fieldManager"`
}

type applyOrder struct {
	First []string `json:"first"`
	Last  []string `json:"last"`
}

type managerNames struct {
	Name  string `json:"name"`
	Group string `json:"group"`
}

const (
	configAPIVersion = "kustomizer.dev/v1"
	configKind       = "Config"
	maxConfig        = 1 << 20 // bytes
)

func defaultConfig() configuration {
	order := object.DefaultOrder()
	return configuration{
		APIVersion: configAPIVersion, Kind: configKind,
		ApplyOrder:   applyOrder{First: order.First, Last: order.Last},
		FieldManager: managerNames{Name: plan.InventoryManager, Group: plan.InventoryLabelGroup},
	}
}

// order returns the order in which objects of inventories are applied.
func (c configuration) order() object.Order {
	return object.Order{First: c.ApplyOrder.First, Last: c.ApplyOrder.Last}.Normal()
}

// check says what is wrong with a configuration.
func (c configuration) check() error {
	switch {
	case c.APIVersion != configAPIVersion || c.Kind != configKind:
		return fmt.Errorf("it is %s %s, and not %s %s", c.APIVersion, c.Kind, configAPIVersion, configKind)
	case c.FieldManager.Group == plan.KustomizationLabelGroup || c.FieldManager.Name == plan.KustomizationManager:
		return errors.New("fieldManager: these are the names by which the agent knows its own objects")
	}
	if wrong := validation.IsDNS1123Subdomain(c.FieldManager.Group); len(wrong) > 0 {
		return fmt.Errorf("fieldManager.group %q: %s", c.FieldManager.Group, strings.Join(wrong, "; "))
	}
	if wrong := validation.IsValidLabelValue(c.FieldManager.Name); len(wrong) > 0 || c.FieldManager.Name == "" {
		return fmt.Errorf("fieldManager.name %q can't be the value of a label: %s", c.FieldManager.Name, strings.Join(wrong, "; "))
	}
	seen := map[string]bool{}
	for _, kind := range append(append([]string{}, c.ApplyOrder.First...), c.ApplyOrder.Last...) {
		if kind == "" || seen[kind] {
			return fmt.Errorf("applyOrder: the kind %q is there twice, or empty", kind)
		}
		seen[kind] = true
	}
	return nil
}

// configPath returns where the configuration is, which is where Kustomizer has it.
func configPath() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the home directory: %w", err)
	}
	return filepath.Join(home, ".kustomizer", "config"), nil
}

// config returns what applies to inventories: what the file says, and the defaults for the rest.
func (a *app) config() (configuration, error) {
	c := defaultConfig()
	path, err := configPath()
	if err != nil {
		return c, nil // without a home there is no file in it
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		defer file.Close()
		err = decodeConfig(file, &c)
	}
	if err != nil {
		return c, badUsage("correct it, or remove it and write the defaults: kustomizer config init", "reading the configuration %s: %v", path, err)
	}
	return c, nil
}

// decodeConfig reads a configuration over the defaults.
func decodeConfig(r io.Reader, c *configuration) error {
	data, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return err
	}
	if len(data) > maxConfig {
		return fmt.Errorf("it has more than %d bytes", maxConfig)
	}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return err
	}
	return c.check()
}

func newConfigCmd(a *app) *cobra.Command {
	return verb("config", "Write and show the configuration of inventories", newConfigInitCmd(a), newConfigViewCmd(a))
}

func newConfigInitCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write a configuration file with the defaults",
		Long: "Write ~/.kustomizer/config with the defaults, to be edited: the order in which kinds are applied, and the\n" +
			"field manager and the group of the labels with which inventories mark their objects. A file that is there is\n" +
			"not written over.",
		Example: "  # Write the file with the defaults\n  kustomizer config init\n\n" +
			"  # Then edit it, and see what counts\n" +
			"  kustomizer config view\n\n" +
			"  # For one run, without touching the home directory\n" +
			"  HOME=/tmp/ci kustomizer config init",
		Args: positional(),
		RunE: a.run(ownTimeout, func(context.Context, []string) error { return a.initConfig() }),
	}
}

// initConfig writes the defaults, whole or not at all.
func (a *app) initConfig() error {
	path, err := configPath()
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(defaultConfig())
	if err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &report.RefusedError{Message: "there is a configuration already: " + path, Hint: "see what it says: kustomizer config view"}
	}
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the configuration: %w", err), os.Remove(path))
	}
	a.ui.Note("config written to %s", path)
	return nil
}

func newConfigViewCmd(a *app) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Show the configuration that counts",
		Long: "Show the configuration of inventories: what ~/.kustomizer/config says, and the defaults for what it does not\n" +
			"say.",
		Example: "  # What counts, from the file and the defaults\n  kustomizer config view\n\n" +
			"  # In JSON\n" +
			"  kustomizer config view -o json\n\n" +
			"  # Start from what counts now\n" +
			"  kustomizer config view > config.yaml",
		Args: positional(),
	}
	out.AddFlags(cmd, formatYAML, formatJSON)
	cmd.RunE = a.run(ownTimeout, func(context.Context, []string) error {
		if err := out.check(); err != nil {
			return err
		}
		c, err := a.config()
		if err != nil {
			return err
		}
		return a.print(out, c)
	})
	return cmd
}
