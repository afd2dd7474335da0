// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"path"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kustomizationFlags is the flags of "create kustomization".
type kustomizationFlags struct {
	reconciledCreation
	source, path                 string
	prune, wait                  bool
	healthChecks                 []string
	healthTimeout                time.Duration
	dependsOn                    []string
	account, targetNamespace     string
	decryption, decryptionSecret string
	kubeconfigSecret             string
	retryInterval                time.Duration
	validation                   string
}

func newCreateKustomizationCmd(a *app) *cobra.Command {
	var f kustomizationFlags
	cmd := &cobra.Command{
		Use:     "kustomization NAME",
		Aliases: []string{"ks"},
		Short:   "Create or update a Kustomization and wait until it is applied",
		Long: "Create or update a Kustomization: the agent applies what a source holds, keeps it so, and prunes what\n" +
			"was removed. The command waits until the current version is applied and, with --wait, healthy.",
		Example: "  # Deploy what the source demo-app holds, and delete what is removed from it\n" +
			"  kustomizer create kustomization demo-app --source=OCIRepository/demo-app --prune=true --wait=true --health-check-timeout=3m\n\n" +
			"  # Into a namespace of its own\n" +
			"  kustomizer create kustomization demo-prod --source=OCIRepository/demo-app --target-namespace=prod --prune=true\n\n" +
			"  # As YAML, to keep in Git\n" +
			"  kustomizer create kustomization demo-app --source=OCIRepository/demo-app --prune=true --export",
		Args: positional("NAME"),
	}
	f.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		if err := f.check(cmd, args[0]); err != nil {
			return err
		}
		if f.validation != "" {
			a.ui.Warn("--validation has been deprecated and has no effect: every change is validated by the API server")
		}
		ns, err := a.deliveryNamespace()
		if err != nil {
			return err
		}
		want, err := f.resource(ns, args[0])
		if err != nil {
			return err
		}
		u, err := toUnstructured(kustomizations(), want)
		if err != nil {
			return err
		}
		if f.export {
			return a.export(u)
		}
		a.ui.Generate("generating Kustomization")
		return a.createReconciled(ctx, kustomizations(), u, func(r resource) {
			a.ui.Success("Kustomization %s is ready", r.id.Name)
			a.ui.Success("applied revision %s", r.revision)
		})
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *kustomizationFlags) AddFlags(fs *pflag.FlagSet) {
	f.reconciledCreation.AddFlags(fs)
	fs.StringVar(&f.source, "source", "", "what to apply, as [KIND/]NAME[.NAMESPACE] with the kinds OCIRepository, GitRepository (the default, as with Flux), Bucket (required)")
	fs.StringVar(&f.path, "path", "./", "directory within the source")
	fs.BoolVar(&f.prune, "prune", false, "delete what is removed from the source")
	fs.BoolVar(&f.wait, "wait", false, "ready means that all applied objects are")
	fs.StringSliceVar(&f.healthChecks, "health-check", nil, "objects that must be ready, as KIND/NAME.NAMESPACE with the kinds Deployment, DaemonSet, StatefulSet, HelmRelease")
	fs.DurationVar(&f.healthTimeout, "health-check-timeout", 2*time.Minute, "limit for becoming ready, with --wait or --health-check")
	fs.StringSliceVar(&f.dependsOn, "depends-on", nil, "Kustomizations that must be ready before, as NAME or NAMESPACE/NAME")
	fs.StringVar(&f.account, "service-account", "", "name of the ServiceAccount to act as")
	fs.StringVar(&f.decryption, "decryption-provider", "", "decrypt with: sops")
	fs.StringVar(&f.decryptionSecret, "decryption-secret", "", "name of a Secret with the keys to decrypt with")
	fs.StringVar(&f.targetNamespace, "target-namespace", "", "namespace for all objects")
	fs.StringVar(&f.kubeconfigSecret, "kubeconfig-secret-ref", "", "name of a Secret with the kubeconfig of another cluster to apply to")
	fs.DurationVar(&f.retryInterval, "retry-interval", 0, "how soon to try again after a failure (default: the interval)")
	fs.StringVar(&f.validation, "validation", "", "has no effect: every change is validated by the API server")
	if flag := fs.Lookup("validation"); flag != nil {
		flag.Hidden = true
	}
}

func (f *kustomizationFlags) check(cmd *cobra.Command, name string) error {
	if err := requireFlags(cmd, "source"); err != nil {
		return err
	}
	if f.decryption != "" && f.decryption != "sops" {
		return badUsage("", "--decryption-provider %q is not sops", f.decryption)
	}
	if f.decryptionSecret != "" && f.decryption == "" {
		return badUsage("add --decryption-provider=sops", "--decryption-secret needs --decryption-provider")
	}
	if f.retryInterval < 0 || f.healthTimeout <= 0 {
		return badUsage("", "--retry-interval and --health-check-timeout must be more than zero")
	}
	return f.reconciledCreation.check(kustomizations(), name)
}

func (f *kustomizationFlags) resource(namespace, name string) (*kustomizev1.Kustomization, error) {
	labels, err := f.labelMap()
	if err != nil {
		return nil, err
	}
	source, err := f.sourceRef()
	if err != nil {
		return nil, err
	}
	dir, err := f.directory()
	if err != nil {
		return nil, err
	}
	checks, err := f.healthCheckRefs()
	if err != nil {
		return nil, err
	}
	spec := kustomizev1.KustomizationSpec{
		SourceRef:          source,
		Path:               dir,
		Interval:           metav1.Duration{Duration: f.interval},
		Prune:              f.prune,
		Wait:               f.wait,
		HealthChecks:       checks,
		DependsOn:          f.dependencies(),
		ServiceAccountName: f.account,
		TargetNamespace:    f.targetNamespace,
	}
	f.optional(&spec)
	return &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels}, Spec: spec}, nil
}

func (f *kustomizationFlags) optional(spec *kustomizev1.KustomizationSpec) {
	if f.wait || len(f.healthChecks) > 0 {
		spec.Timeout = &metav1.Duration{Duration: f.healthTimeout}
	}
	if f.retryInterval > 0 {
		spec.RetryInterval = &metav1.Duration{Duration: f.retryInterval}
	}
	if f.decryption != "" {
		spec.Decryption = &kustomizev1.Decryption{Provider: f.decryption, SecretRef: local(f.decryptionSecret)}
	}
	if f.kubeconfigSecret != "" {
		spec.KubeConfig = &fluxmeta.KubeConfigReference{SecretRef: &fluxmeta.SecretKeyReference{Name: f.kubeconfigSecret}}
	}
}

// sourceRef reads [KIND/]NAME[.NAMESPACE].
func (f *kustomizationFlags) sourceRef() (kustomizev1.CrossNamespaceSourceReference, error) {
	given, name, found := strings.Cut(f.source, "/")
	if !found {
		given, name = "GitRepository", f.source
	}
	name, namespace, _ := strings.Cut(name, ".")
	for _, known := range []string{"OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"} {
		if strings.EqualFold(given, known) && name != "" {
			return kustomizev1.CrossNamespaceSourceReference{Kind: known, Name: name, Namespace: namespace}, nil
		}
	}
	return kustomizev1.CrossNamespaceSourceReference{}, badUsage("for example --source=OCIRepository/demo-app",
		"--source %q is not [KIND/]NAME[.NAMESPACE] with a kind of OCIRepository, GitRepository, Bucket, ExternalArtifact", f.source)
}

// directory makes the path relative to the source's root, which it may not leave.
func (f *kustomizationFlags) directory() (string, error) {
	clean := path.Clean(strings.ReplaceAll(f.path, `\`, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", badUsage("", "--path %q leads out of the source", f.path)
	}
	clean = strings.TrimPrefix(clean, "/")
	if clean == "." || clean == "" {
		return "./", nil
	}
	return "./" + clean, nil
}

// healthCheckRefs reads KIND/NAME.NAMESPACE.
func (f *kustomizationFlags) healthCheckRefs() ([]fluxmeta.NamespacedObjectKindReference, error) {
	versions := map[string]string{
		"Deployment": "apps/v1", "DaemonSet": "apps/v1", "StatefulSet": "apps/v1", "HelmRelease": "helm.toolkit.fluxcd.io/v2",
	}
	var out []fluxmeta.NamespacedObjectKindReference
	for _, given := range f.healthChecks {
		kind, rest, _ := strings.Cut(given, "/")
		name, namespace, _ := strings.Cut(rest, ".")
		version, known := versions[kind]
		if !known || name == "" || namespace == "" {
			return nil, badUsage("for example --health-check=Deployment/web.prod",
				"--health-check %q is not KIND/NAME.NAMESPACE with a kind of Deployment, DaemonSet, StatefulSet, HelmRelease", given)
		}
		out = append(out, fluxmeta.NamespacedObjectKindReference{APIVersion: version, Kind: kind, Name: name, Namespace: namespace})
	}
	return out, nil
}

// dependencies reads NAME or NAMESPACE/NAME.
func (f *kustomizationFlags) dependencies() []kustomizev1.DependencyReference {
	var out []kustomizev1.DependencyReference
	for _, given := range f.dependsOn {
		namespace, name, found := strings.Cut(given, "/")
		if !found {
			namespace, name = "", given
		}
		out = append(out, kustomizev1.DependencyReference{Namespace: namespace, Name: name})
	}
	return out
}
