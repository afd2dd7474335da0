// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// servers are the agent's HTTP servers. They run from the start, whether the agent leads or not.
type servers struct {
	addresses Addresses
	running   []*http.Server
}

// serve starts the servers that the options ask for.
func serve(ctx context.Context, opts Options, arts *artifacts) (*servers, error) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	health := http.NewServeMux()
	health.Handle("/healthz", ok)
	health.Handle("/readyz", ok)
	metricsMux := http.NewServeMux()
	metricsMux.Handle("/metrics", promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	s := &servers{}
	for _, one := range []struct {
		addr    string
		handler http.Handler
		bound   *string
	}{
		{opts.MetricsAddr, metricsMux, &s.addresses.Metrics},
		{opts.HealthAddr, health, &s.addresses.Health},
		{opts.StorageAddr, arts, &s.addresses.Storage},
	} {
		if one.addr == "0" || one.addr == "" {
			continue
		}
		bound, err := s.start(ctx, one.addr, one.handler, opts)
		if err != nil {
			s.close(ctx)
			return nil, err
		}
		*one.bound = bound
	}
	return s, nil
}

func (s *servers) start(ctx context.Context, addr string, handler http.Handler, opts Options) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listening on %s: %w", addr, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	s.running = append(s.running, server)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			opts.Log.Error(err, "A server ended", "address", listener.Addr().String())
		}
	}()
	return listener.Addr().String(), nil
}

func (s *servers) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, server := range s.running {
		_ = server.Shutdown(ctx) // the process ends; there is nobody to tell
	}
}
