// SPDX-License-Identifier: Apache-2.0

// Command kustomizer publishes Kubernetes configuration as OCI artifacts and deploys it
// continuously from any container registry.
package main

//go:generate go run ../../hack/docgen reference ../../docs/reference

import (
	"context"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/kustomizer/kustomizer/internal/cli"
	_ "github.com/kustomizer/kustomizer/internal/memory"       // garbage is collected less often, from the beginning
	_ "github.com/kustomizer/kustomizer/internal/memory/early" // and the first touch of memory costs less
)

// version is set when a release is built.
var version = "0.0.0-dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := cli.WithSignals(context.Background())
	defer stop()
	trustSomebody()
	klog.SetLogger(logr.Discard()) // what Kubernetes' client has to say of a failure is in the error
	return cli.Run(ctx, cli.Program{Path: os.Args[0], Version: version}, os.Args[1:], cli.OSStreams())
}
