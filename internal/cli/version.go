// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/report"
)

// serverVersionTimeout bounds the question which version the cluster has: version is also asked
// where none can be reached.
const serverVersionTimeout = 5 * time.Second

// versions is the result of the version command.
type versions struct {
	Client clientVersion `json:"client"`
	Server string        `json:"server,omitempty"` // the API server's
}

type clientVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCmd(a *app) *cobra.Command {
	var out output
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, and of the cluster where one is configured",
		Example: "  # Of this program and of the cluster\n" +
			"  kustomizer version\n\n" +
			"  # For a script, without asking a cluster\n" +
			"  kustomizer version --client -o json\n\n" +
			"  # Of the cluster that a context names\n" +
			"  kustomizer version --context=production",
		Args: positional(),
	}
	out.AddFlags(cmd, "", formatJSON, formatYAML)
	cmd.Flags().BoolVar(&clientOnly, "client", false, "leave the cluster out")
	cmd.RunE = a.run(serverVersionTimeout, func(ctx context.Context, _ []string) error {
		if err := out.check(); err != nil {
			return err
		}
		v := versions{Client: a.clientVersion()}
		if !clientOnly {
			v.Server = a.serverVersion(ctx)
		}
		if out.structured() {
			return a.print(out, v)
		}
		a.ui.Result("%s: %s", a.program.name(), v.Client.Version)
		if v.Server != "" {
			a.ui.Result("kubernetes: %s", v.Server)
		}
		return nil
	})
	return cmd
}

func (a *app) clientVersion() clientVersion {
	v := clientVersion{Version: a.program.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				v.Commit = setting.Value
			}
		}
	}
	return v
}

// serverVersion returns the API server's version, or nothing with a warning where it does not
// answer. Where no cluster is configured, there is nothing to say.
func (a *app) serverVersion(ctx context.Context) string {
	c, err := a.connect()
	var none *report.NoClusterError
	if errors.As(err, &none) {
		return ""
	}
	if err == nil {
		var version string
		if version, err = c.Version(ctx); err == nil {
			return version
		}
	}
	a.ui.Warn("the cluster's version is not known: %s", report.Of(err).Line)
	return ""
}
