// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kustomizer/kustomizer/internal/controller"
)

// controllerFlags are the flags of the agent. Their names and defaults are those of Flux's
// controllers.
type controllerFlags struct {
	options            controller.Options
	watchAllNamespaces bool
	logLevel           string
	logEncoding        string
	guard              string
	protect            []string
}

func newControllerCmd(a *app) *cobra.Command {
	flags := &controllerFlags{}
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run the agent: deploy continuously what OCIRepositories and Kustomizations say",
		Long: "Runs the agent, in a cluster or, with a kubeconfig, outside of one.\n\n" +
			"It leads only while it holds the Leases of Flux's source-controller and kustomize-controller, which keeps\n" +
			"those idle, and refuses to start where they run without leader election. It behaves as the profile \"flux\":\n" +
			"references across namespaces are allowed, and objects are applied with the agent's own rights. Remote\n" +
			"bases are refused.",
		Example: "  # As the installed Deployment runs it\n  kustomizer controller --storage-path=/data\n\n" +
			"  # Outside of the cluster, on free ports, with the current kubeconfig\n  kustomizer controller\n\n" +
			"  # Only the resources of one namespace\n  kustomizer controller --watch-all-namespaces=false -n apps",
		Args: positional(),
	}
	flags.add(cmd.Flags())
	cmd.RunE = a.run(noTimeout, func(ctx context.Context, _ []string) error {
		return a.controller(ctx, flags)
	})
	return cmd
}

func (f *controllerFlags) add(fs *pflag.FlagSet) {
	o := &f.options
	fs.BoolVar(&f.watchAllNamespaces, "watch-all-namespaces", true, "watch resources in all namespaces, not only in the agent's own")
	fs.StringVar(&o.LabelSelector, "watch-label-selector", "", "watch only resources with these labels, as a shard of several agents")
	fs.BoolVar(&o.LeaderElection, "enable-leader-election", true, "lead only while holding the Leases; without it nothing keeps two engines apart")
	fs.DurationVar(&o.Leases.Duration, "leader-election-lease-duration", 35*time.Second, "how long a Lease lasts without being renewed")
	fs.DurationVar(&o.Leases.RenewDeadline, "leader-election-renew-deadline", 30*time.Second, "how long renewing a Lease is tried before leadership is given up")
	fs.DurationVar(&o.Leases.RetryPeriod, "leader-election-retry-period", 5*time.Second, "pause between attempts to get or renew a Lease")
	fs.IntVar(&o.Concurrent, "concurrent", 4, "how many resources of a kind are worked on at the same time")
	fs.IntVar(&o.Jitter, "interval-jitter-percentage", 5, "percent by which intervals are made longer or shorter at random")
	fs.DurationVar(&o.MinRetry, "min-retry-delay", 750*time.Millisecond, "first pause after a failure")
	fs.DurationVar(&o.MaxRetry, "max-retry-delay", 15*time.Minute, "longest pause after repeated failures")
	fs.StringVar(&o.MetricsAddr, "metrics-addr", "", "address of /metrics, 0 for none (default :8080 in a cluster, a free port on loopback outside)")
	fs.StringVar(&o.HealthAddr, "health-addr", "", "address of /healthz and /readyz, 0 for none (default :9440 in a cluster, a free port on loopback outside)")
	fs.StringVar(&o.StorageAddr, "storage-addr", "", "address at which artifacts are served to others, 0 for none (default :9090 in a cluster, a free port on loopback outside)")
	fs.StringVar(&o.AdvertisedAddr, "storage-adv-addr", "", "address by which others reach --storage-addr")
	fs.StringVar(&o.StoragePath, "storage-path", "", "directory of the store (default: one in the user's cache directory for each namespace)")
	fs.Int64Var(&o.StorageLimit, "storage-limit", 0, "bytes that the store may hold, 0 for the default")
	fs.StringVar(&o.AgeSecret, "sops-age-secret", "", "Secret in the agent's namespace whose keys that end in .agekey decrypt artifacts, where a Kustomization names none")
	addGuardFlags(fs, &f.guard, &f.protect)
	fs.IntVar(&o.PruneFleetLimit, "prune-fleet-limit", 100, "how many objects one revision may delete over all Kustomizations before its deletions are held, 0 for any number")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info or error")
	fs.StringVar(&f.logEncoding, "log-encoding", "json", "json or console")
}

func (a *app) controller(ctx context.Context, flags *controllerFlags) error {
	opts := flags.options
	log, err := flags.logger(a.streams.Err)
	if err != nil {
		return err
	}
	klog.SetLogger(log)
	if opts.Config, err = a.restConfig(); err != nil {
		return err
	}
	opts.Config.QPS = -1                           // the API server's priority and fairness decides
	opts.Config.WarningHandler = rest.NoWarnings{} // about Flux's names, which can't change
	if opts.Namespace, err = a.agentNamespace(); err != nil {
		return err
	}
	if !flags.watchAllNamespaces {
		opts.WatchNamespace = opts.Namespace
	}
	if err := flags.setDefaults(&opts); err != nil {
		return err
	}
	if opts.PruneGuardOff, opts.ProtectKinds, err = guard(flags.guard, flags.protect); err != nil {
		return err
	}
	if opts.PruneFleetLimit < 0 {
		return badUsage("", "--prune-fleet-limit must not be negative")
	}
	opts.Log, opts.UserAgent = log, "kustomizer/"+a.program.Version
	opts.Started = func(at controller.Addresses) {
		log.Info("Serving", "metrics", at.Metrics, "health", at.Health, "storage", at.Storage)
	}
	log.Info("Behaving as the profile flux: references across namespaces are allowed, and objects are applied with the agent's own rights; remote bases are refused")
	return controller.Run(ctx, opts)
}

// agentNamespace is the namespace that the pod runs in, or the one for delivery objects.
func (a *app) agentNamespace() (string, error) {
	if ns := cmp.Or(a.namespace, a.getenv("RUNTIME_NAMESPACE")); ns != "" {
		return ns, checkNamespace(ns)
	}
	return a.deliveryNamespace()
}

// setDefaults fills in what depends on where the agent runs.
func (f *controllerFlags) setDefaults(opts *controller.Options) error {
	if opts.Concurrent < 1 {
		return badUsage("", "--concurrent must be at least 1")
	}
	if opts.Jitter < 0 || opts.Jitter > 50 {
		return badUsage("", "--interval-jitter-percentage must be between 0 and 50")
	}
	metrics, health, storage := "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if inCluster() {
		metrics, health, storage = ":8080", ":9440", ":9090"
	}
	opts.MetricsAddr = cmp.Or(opts.MetricsAddr, metrics)
	opts.HealthAddr = cmp.Or(opts.HealthAddr, health)
	opts.StorageAddr = cmp.Or(opts.StorageAddr, storage)
	if opts.StoragePath != "" {
		return nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return badUsage("name one by --storage-path", "no directory for the store: %v", err)
	}
	opts.StoragePath = filepath.Join(dir, "kustomizer", "agent", opts.Namespace)
	return nil
}

func (f *controllerFlags) logger(w io.Writer) (logr.Logger, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "error": slog.LevelError}
	level, known := levels[f.logLevel]
	if !known {
		return logr.Logger{}, badUsage("", "--log-level is %q: want debug, info or error", f.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch f.logEncoding {
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(w, options)), nil
	case "console":
		return logr.FromSlogHandler(slog.NewTextHandler(w, options)), nil
	}
	return logr.Logger{}, badUsage("", "--log-encoding is %q: want json or console", f.logEncoding)
}
