// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The Leases by which Flux's controllers elect their leaders. The agent leads only while it holds
// them: that keeps Flux's own controllers idle, so that there are never two engines.
const (
	sourceLease        = "source-controller-leader-election"
	kustomizationLease = "kustomize-controller-leader-election"
)

// LeaseOptions are the times of leader election. The zero value stands for Flux's.
type LeaseOptions struct {
	Duration, RenewDeadline, RetryPeriod time.Duration
}

func (o *LeaseOptions) setDefaults() {
	if o.Duration == 0 {
		o.Duration = 35 * time.Second
	}
	if o.RenewDeadline == 0 {
		o.RenewDeadline = 30 * time.Second
	}
	if o.RetryPeriod == 0 {
		o.RetryPeriod = 5 * time.Second
	}
}

// patience is how long the agent holds the first Lease while it can't get the second: as long as it
// takes to see that nobody renews that one. Then it gives the first back, because whoever holds the
// second may need it.
func (o *LeaseOptions) patience() time.Duration { return o.Duration + 2*o.RetryPeriod }

// pause is how long the agent then leaves the first Lease to whoever wants it: other engines try at
// intervals of up to 2.2 retry periods.
func (o *LeaseOptions) pause() time.Duration { return 3 * o.RetryPeriod }

// errLeaseLost ends the process: whoever took the lease may already be writing.
var errLeaseLost = errors.New("leadership was lost")

// leaseNames returns the Leases to hold, in the order in which they are taken. With a label
// selector they are those of the shard, named as Flux names them: by the selector's hash.
func leaseNames(selector string) []string {
	names := []string{sourceLease, kustomizationLease}
	if selector == "" {
		return names
	}
	sum := sha256.Sum256([]byte(selector))
	for i := range names {
		names[i] = fmt.Sprintf("%s-%x", names[i], sum[:4])
	}
	return names
}

// lead runs a function while all leases are held. It returns when the function does, or with
// errLeaseLost as soon as a lease is lost; the function's context ends then too.
func lead(ctx context.Context, cfg *rest.Config, namespace string, held *leadership, run func(context.Context) error) error {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("configuring leader election: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("naming this process for leader election: %w", err)
	}
	e := &election{
		client: client, namespace: namespace, held: held,
		identity: host + "_" + string(uuid.NewUUID()),
	}
	for {
		err := e.hold(ctx, held.names, run)
		if !errors.Is(err, errNoSecondLease) || ctx.Err() != nil {
			return err
		}
		logr.FromContextOrDiscard(ctx).Info("Another engine holds the second lease: the first is given back, and tried for again", "leases", held.names)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(held.times.pause()):
		}
	}
}

var errNoSecondLease = errors.New("the second lease is held by somebody else")

type election struct {
	client    kubernetes.Interface
	namespace string
	identity  string
	held      *leadership
}

// hold takes the first lease and, while it is held, the others and then the function.
func (e *election) hold(ctx context.Context, names []string, run func(context.Context) error) error {
	if len(names) == 0 {
		return run(ctx)
	}
	return e.while(ctx, names[0], func(ctx context.Context) error {
		return e.holdRest(ctx, names[1:], run)
	})
}

func (e *election) holdRest(ctx context.Context, names []string, run func(context.Context) error) error {
	if len(names) == 0 {
		return run(ctx)
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(e.held.times.patience(), func() { cancel(errNoSecondLease) })
	defer patience.Stop()
	err := e.while(waiting, names[0], func(context.Context) error {
		if !patience.Stop() {
			return errNoSecondLease
		}
		return e.holdRest(waiting, names[1:], run)
	})
	if err == nil && errors.Is(context.Cause(waiting), errNoSecondLease) {
		return errNoSecondLease
	}
	return err
}

// while runs a function while one lease is held. When the surrounding context ends the function is
// let finish first, and only then the lease is given back.
func (e *election) while(ctx context.Context, name string, run func(context.Context) error) error {
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	leading, done := make(chan struct{}), make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-leading:
		default:
			stop()
		}
	})()
	elector, err := e.elector(name, func(held context.Context) {
		defer stop()
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(held, cancel)()
		close(leading)
		done <- run(work)
	})
	if err != nil {
		return fmt.Errorf("configuring leader election: %w", err)
	}
	elector.Run(electing)
	if electing.Err() == nil {
		return errLeaseLost
	}
	select {
	case <-leading:
		return <-done
	default:
		return nil
	}
}

func (e *election) elector(name string, started func(context.Context)) (*leaderelection.LeaderElector, error) {
	times := e.held.times
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &watchedLease{name: name, held: e.held, Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.namespace, Name: name},
			Client:     e.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
		}},
		LeaseDuration: times.Duration, RenewDeadline: times.RenewDeadline, RetryPeriod: times.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            name,
		Callbacks:       leaderelection.LeaderCallbacks{OnStartedLeading: started, OnStoppedLeading: func() {}},
	})
}
