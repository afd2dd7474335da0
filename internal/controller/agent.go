// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/store"
)

// Options configure the agent.
type Options struct {
	Config    *rest.Config
	Log       logr.Logger
	UserAgent string
	// Namespace is the agent's own: its Leases and records lie there.
	Namespace string
	// WatchNamespace limits the resources to one namespace; empty for all.
	WatchNamespace string
	// LabelSelector limits the resources to a shard.
	LabelSelector string

	// AgeSecret names the Secret in Namespace with the keys for artifacts that are encrypted, where a
	// Kustomization names none; empty for none.
	AgeSecret string

	LeaderElection bool
	Leases         LeaseOptions

	MetricsAddr string // address of /metrics; "0" for none
	HealthAddr  string // address of /healthz and /readyz; "0" for none
	StorageAddr string // address at which artifacts are served; "0" for none
	// AdvertisedAddr is the host:port that others reach StorageAddr by; empty for StorageAddr.
	AdvertisedAddr string
	StoragePath    string // directory of the store; it outlives the process
	StorageLimit   int64  // bytes; 0 for the store's default

	Concurrent int           // resources of a kind worked on at the same time
	MinRetry   time.Duration // first pause after a failure; 0 for Flux's
	MaxRetry   time.Duration // longest pause after failures; 0 for Flux's
	Jitter     int           // percent by which intervals are spread
	// PruneGuardOff: deletions are made without the brake, as Flux does.
	PruneGuardOff bool
	// PruneFleetLimit is how many objects one revision may delete over all Kustomizations; 0 for any number.
	PruneFleetLimit int
	ProtectKinds    []schema.GroupKind // see plan.Policy
	// Started is called once the servers listen; the addresses are those really in use.
	Started func(Addresses)
}

// Addresses are where the agent's servers listen.
type Addresses struct{ Metrics, Health, Storage string }

// gracePeriod is how long work under way may take to finish when the agent is stopped.
const gracePeriod = 20 * time.Second

// Run is the agent. It serves health and metrics at once, waits until it leads, and works until
// the context ends or its leadership is lost.
func Run(ctx context.Context, opts Options) error {
	opts.MinRetry = cmp.Or(opts.MinRetry, 750*time.Millisecond)
	opts.MaxRetry = cmp.Or(opts.MaxRetry, 15*time.Minute)
	ctrl.SetLogger(opts.Log)
	ctx = logr.NewContext(ctx, opts.Log)
	electing := opts.Config
	var held *leadership
	if opts.LeaderElection {
		held = newLeadership(leaseNames(opts.LabelSelector), opts.Leases)
		opts.Config = held.guard(opts.Config)
	}
	c, err := cluster.Connect(opts.Config)
	if err != nil {
		return err
	}
	if err := deploy.Fence(ctx, c, opts.Namespace); err != nil {
		return err
	}
	arts, err := openArtifacts(opts)
	if err != nil {
		return err
	}
	servers, err := serve(ctx, opts, arts)
	if err != nil {
		return err
	}
	defer servers.close(ctx)
	if opts.Started != nil {
		opts.Started(servers.addresses)
	}
	work := func(ctx context.Context) error { return runManager(ctx, opts, c, arts, servers.addresses) }
	if !opts.LeaderElection {
		return work(ctx)
	}
	err = lead(ctx, electing, opts.Namespace, held, work)
	if errors.Is(err, errLeaseLost) {
		return fmt.Errorf("%w: whoever leads now goes on", err)
	}
	return err
}

// openArtifacts opens the store and removes what an earlier process left half unpacked.
func openArtifacts(opts Options) (*artifacts, error) {
	work := filepath.Join(opts.StoragePath, "work")
	if err := os.RemoveAll(work); err != nil {
		return nil, fmt.Errorf("clearing %s: %w", work, err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, fmt.Errorf("making the work directory: %w", err)
	}
	limit := opts.StorageLimit
	if limit == 0 {
		limit = store.DefaultMaxBytes
	}
	st, err := store.Open(filepath.Join(opts.StoragePath, "blobs"), limit)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return newArtifacts(st, work), nil
}

// runManager works as long as the context lasts.
func runManager(ctx context.Context, opts Options, c *cluster.Cluster, arts *artifacts, at Addresses) error {
	mgr, err := newManager(opts)
	if err != nil {
		return fmt.Errorf("setting up the agent: %w", err)
	}
	recorders, stop, err := newRecorders(opts.Config)
	if err != nil {
		return fmt.Errorf("setting up events: %w", err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newWaiters(ctx, c)
	defer w.drain()
	defer cancel()
	if err := register(ctx, mgr, opts, parts{
		cluster: c, artifacts: arts, waiters: w, recorders: recorders, storage: at.Storage,
	}); err != nil {
		return fmt.Errorf("setting up the agent: %w", err)
	}
	opts.Log.Info("The agent is at work", "namespace", opts.Namespace, "metrics", at.Metrics, "health", at.Health, "storage", at.Storage)
	return mgr.Start(ctx)
}

func newManager(opts Options) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := addFluxTypes(scheme); err != nil {
		return nil, err
	}
	selector, err := labels.Parse(opts.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("reading the label selector %q: %w", opts.LabelSelector, err)
	}
	cacheOptions := cache.Options{DefaultLabelSelector: selector}
	if opts.WatchNamespace != "" {
		cacheOptions.DefaultNamespaces = map[string]cache.Config{opts.WatchNamespace: {}}
	}
	grace := gracePeriod
	return ctrl.NewManager(opts.Config, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  opts.Log,
		Metrics:                 metricsserver.Options{BindAddress: "0"}, // served by the agent itself, also while it does not lead
		HealthProbeBindAddress:  "0",
		Cache:                   cacheOptions,
		GracefulShutdownTimeout: &grace,
		Client: client.Options{Cache: &client.CacheOptions{
			Unstructured: true, DisableFor: []client.Object{&corev1.Secret{}},
		}},
	})
}
