// SPDX-License-Identifier: Apache-2.0

// Command controlplane is etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler and kubectl in one binary, built from their own sources. The
// component is chosen by the name of the binary (a link) or by the first argument.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var components = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}

func main() {
	name, args, ok := component(os.Args)
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: controlplane %s [arguments]\n", strings.Join(components, "|"))
		os.Exit(2)
	}
	os.Args = args
	run(name, args)
}

// component returns which component to run and its argument list with the
// component's own name in front.
func component(args []string) (string, []string, bool) {
	if name := filepath.Base(args[0]); slices.Contains(components, name) {
		return name, args, true
	}
	if len(args) > 1 && slices.Contains(components, args[1]) {
		return args[1], args[1:], true
	}
	return "", nil, false
}

// run does not return.
func run(name string, args []string) {
	switch name {
	case "etcd":
		etcdmain.Main(args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	}
	os.Exit(0)
}
