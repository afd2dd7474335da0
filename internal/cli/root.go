// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"
)

// newRoot builds the tree of commands. A command's constructor is newXCmd in a file of its own and
// is named here, below its verb.
func newRoot(a *app) *cobra.Command {
	root := verb(a.program.command(), "Publish Kubernetes configuration as OCI artifacts and deploy it continuously", a.commands()...)
	root.Long = "kustomizer publishes Kubernetes configuration as OCI artifacts, from CI to any container registry,\n" +
		"and deploys it continuously from there, pulled from inside the cluster."
	root.Example = "  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy\n" +
		"  kustomizer create source oci app --url=oci://ghcr.io/me/app --tag=latest\n" +
		"  kustomizer create kustomization app --source=OCIRepository/app --prune=true --wait=true"
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.program.name()}
	root.Version = a.program.Version
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args)
	}
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("{{.DisplayName}} version {{.Version}}\n")
	a.addGlobalFlags(root.PersistentFlags())
	return root
}

// commands lists the commands by area.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		newPushCmd(a),
		newPullCmd(a),
		newTagCmd(a),
		newCopyCmd(a),
		newSignCmd(a),
		newVerifyCmd(a),
		newListCmd(a),
		newBuildCmd(a),
		newApplyCmd(a),
		newDiffCmd(a),
		newInspectCmd(a),
		newLoginCmd(a),
		newLogoutCmd(a),
		newInstallCmd(a),
		newUninstallCmd(a),
		newCreateCmd(a),
		newGetCmd(a),
		newReconcileCmd(a),
		newSuspendCmd(a),
		newResumeCmd(a),
		newDeleteCmd(a),
		newExportCmd(a),
		newEventsCmd(a),
		newApproveCmd(a),
		newControllerCmd(a),
		newConfigCmd(a),
		newOptionsCmd(a),
		newVersionCmd(a),
	}
}

// usageTemplate is cobra's own, with a line that says where the connection flags are.
const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if .Aliases}}

Aliases:
  {{.NameAndAliases}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

{{if .HasAvailableSubCommands}}"{{.CommandPath}} COMMAND --help" says more about a command.
{{end}}"{{.Root.CommandPath}} options" lists the flags that choose the cluster.
`
