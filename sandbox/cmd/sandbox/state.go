// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// State is sandbox.json, which is written last: when it is there, all is ready.
type State struct {
	Dir                string `json:"dir"`
	Server             string `json:"server,omitempty"`
	Etcd               string `json:"etcd,omitempty"`
	Kubeconfig         string `json:"kubeconfig,omitempty"`
	CACert             string `json:"caCert,omitempty"`
	CAKey              string `json:"caKey,omitempty"`
	AuditLog           string `json:"auditLog,omitempty"`
	Registry           string `json:"registry,omitempty"`
	PrivateRegistry    string `json:"privateRegistry,omitempty"`
	RegistryLog        string `json:"registryLog,omitempty"`
	PrivateRegistryLog string `json:"privateRegistryLog,omitempty"`
	Kubectl            string `json:"kubectl,omitempty"`
	Launcher           string `json:"launcher"`
	// Controllers are those of the controller-manager, as its flag has them.
	Controllers string `json:"controllers,omitempty"`
}

// process is a process that cannot be confused with a later one of the same pid.
type process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

func newProcess(name string, pid int) process {
	return process{Name: name, PID: pid, Start: startTime(pid)}
}

func (p process) alive() bool { return p.Start != "" && startTime(p.PID) == p.Start }

// processes is pids.json.
type processes struct {
	Supervisor process   `json:"supervisor"`
	Children   []process `json:"children"`
}

func statePath(dir string) string { return filepath.Join(dir, "sandbox.json") }
func pidsPath(dir string) string  { return filepath.Join(dir, "pids.json") }

// writeJSON replaces a file at once, so that no reader sees half of it.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}
