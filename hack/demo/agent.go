// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	agentNamespace = "flux-system"
	agentName      = "kustomizer" // of its Deployment and ServiceAccount
	tokenLifetime  = 7 * 24 * time.Hour
	agentPatience  = 25 * time.Second
)

// agentProcess is the agent, run outside the cluster: the simulated node runs no containers.
type agentProcess struct {
	bin        string
	kubeconfig string
	health     string // host:port
	log        string
	started    time.Time
	process    *os.Process
	exited     chan struct{}
}

func (a *agentProcess) ended() bool {
	select {
	case <-a.exited:
		return true
	default:
		return false
	}
}

// stop ends the agent as a cluster would: it is asked to, and killed if it doesn't.
func (a *agentProcess) stop() error {
	if a.ended() {
		return nil
	}
	if err := a.process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the agent: %w", err)
	}
	select {
	case <-a.exited:
		return nil
	case <-time.After(agentPatience + 5*time.Second):
		return fmt.Errorf("the agent (process %d) does not end", a.process.Pid)
	}
}

// startAgent runs what is in the image, as the installed ServiceAccount, with the arguments of the
// installed Deployment; only addresses and paths are those of this machine.
func startAgent(ctx context.Context, s *story) error {
	if s.agent != nil {
		if err := s.agent.stop(); err != nil {
			return err
		}
	}
	a := &agentProcess{
		bin: s.path("agent/kustomizer"), kubeconfig: s.path("agent/kubeconfig"), log: s.path("agent/log"),
		exited: make(chan struct{}),
	}
	if err := s.extractBinary(ctx, s.image, a.bin); err != nil {
		return fmt.Errorf("taking the binary out of the image: %w", err)
	}
	if err := s.writeAgentKubeconfig(ctx, a.kubeconfig); err != nil {
		return err
	}
	args, err := s.agentArgs(ctx, a)
	if err != nil {
		return err
	}
	s.shown = append(s.shown, typed(append([]string{s.short(a.bin)}, args...)))
	if err := s.launch(a, args); err != nil {
		return err
	}
	s.agent = a
	return nil
}

// writeAgentKubeconfig asks for a token of the agent's ServiceAccount.
func (s *story) writeAgentKubeconfig(ctx context.Context, path string) error {
	seconds := int64(tokenLifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := s.kube.CoreV1().ServiceAccounts(agentNamespace).CreateToken(ctx, agentName, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of the agent's ServiceAccount: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["sandbox"] = &clientcmdapi.Cluster{Server: s.sandbox.Server, CertificateAuthority: s.sandbox.CACert}
	config.AuthInfos[agentName] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["sandbox"] = &clientcmdapi.Context{Cluster: "sandbox", AuthInfo: agentName}
	config.CurrentContext = "sandbox"
	return clientcmd.WriteToFile(*config, path)
}

// agentArgs takes the arguments of the installed Deployment.
func (s *story) agentArgs(ctx context.Context, a *agentProcess) ([]string, error) {
	d, err := s.kube.AppsV1().Deployments(agentNamespace).Get(ctx, agentName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	args := slices.Clone(d.Spec.Template.Spec.Containers[0].Args)
	for i, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		switch flag {
		case "--storage-path":
			args[i] = flag + "=" + s.path("agent/data")
		case "--metrics-addr", "--storage-addr", "--health-addr":
			addr, err := freeAddr()
			if err != nil {
				return nil, err
			}
			args[i] = flag + "=" + addr
			if flag == "--health-addr" {
				a.health = addr
			}
		}
	}
	// Inside the cluster others reach the artifacts by the Service's name, here by the address.
	return slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--storage-adv-addr=") }), nil
}

// freeAddr returns an address on loopback where nothing listens. It is among those that systems
// don't hand out to outgoing connections.
func freeAddr() (string, error) {
	for range 100 {
		listener, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(20000+rand.IntN(10000)))
		if err == nil {
			return listener.Addr().String(), listener.Close()
		}
	}
	return "", errors.New("no free port on 127.0.0.1 between 20000 and 29999")
}

// tendCommand makes the demo's binary tend the agent instead of running the demo.
const tendCommand = "tend-agent"

// launch starts the agent below a process that ends it when the sandbox is gone, whatever became of
// the demo: with KEEP=1 it is the sandbox's `down` that ends both.
func (s *story) launch(a *agentProcess, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(a.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{tendCommand, s.path("sandbox"), a.bin}, args...)...)
	cmd.Dir = s.path("agent")
	cmd.Env = []string{"HOME=" + s.path("agent"), "TMPDIR=" + s.path("tmp"), "PATH=" + os.Getenv("PATH"),
		"KUBECONFIG=" + a.kubeconfig, "RUNTIME_NAMESPACE=" + agentNamespace}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = detached()
	a.started = time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	a.process = cmd.Process
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(a.exited)
	}()
	return nil
}

// tend runs a command as long as the sandbox in a directory lives, and returns its exit code.
func tend(args []string) int {
	runtime.LockOSThread() // the command dies with this thread: see dying
	dir, command := args[0], args[1:]
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = dying()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, os.Interrupt)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "starting the agent:", err)
		return 1
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	alive := time.NewTicker(100 * time.Millisecond)
	defer alive.Stop()
	for {
		select {
		case <-ended:
			return cmd.ProcessState.ExitCode()
		case <-asked:
			return endCommand(cmd, ended, agentPatience)
		case <-alive.C:
			if !sandboxAlive(dir) {
				return endCommand(cmd, ended, time.Second) // it can't give back its Leases any more
			}
		}
	}
}

func endCommand(cmd *exec.Cmd, ended <-chan struct{}, patience time.Duration) int {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
	}
	return cmd.ProcessState.ExitCode()
}

// sandboxAlive says whether the sandbox in a directory runs: it removes its state when it stops, and
// its supervisor is gone when it was killed.
func sandboxAlive(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "sandbox.json")); err != nil {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, "pids.json"))
	if err != nil {
		return false
	}
	var pids struct {
		Supervisor struct {
			PID int `json:"pid"`
		} `json:"supervisor"`
	}
	if err := json.Unmarshal(data, &pids); err != nil || pids.Supervisor.PID == 0 {
		return false
	}
	p, err := os.FindProcess(pids.Supervisor.PID)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}
