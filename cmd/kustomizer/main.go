// SPDX-License-Identifier: Apache-2.0

// Command kustomizer publishes Kubernetes configuration as OCI artifacts and deploys it
// continuously from any container registry.
package main

//go:generate go run ../../hack/docgen reference ../../docs/reference

import (
	"context"
	"os"
	"runtime/debug"
	"slices"

	_ "golang.org/x/crypto/x509roots/fallback" // trust roots for images that have none

	"github.com/kustomizer/kustomizer/internal/cli"
)

// version is set when a release is built.
var version = "0.0.0-dev"

func main() { os.Exit(run()) }

func run() int {
	collectLater(os.Args)
	ctx, stop := cli.WithSignals(context.Background())
	defer stop()
	return cli.Run(ctx, cli.Program{Path: os.Args[0], Version: version}, os.Args[1:], cli.OSStreams())
}

// collectLater has garbage collected less often than usual in commands that run for a moment: with
// a thousand objects that is a fifth of their time. The limit keeps sets of many thousands in bounds.
// The agent, which stays, and whoever sets GOGC or GOMEMLIMIT, have it as it is.
func collectLater(args []string) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" || slices.Contains(args, "controller") {
		return
	}
	const percent, limit = 400, 320 << 20
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
}
