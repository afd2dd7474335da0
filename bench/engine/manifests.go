// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
)

// writeManifests writes a set of n objects, a quarter of each of four kinds. With change, one of
// them is another than without.
func writeManifests(file, namespace string, n int, change bool) error {
	var out strings.Builder
	value := "one"
	for i := range n / 4 {
		if change && i == n/8 {
			value = "two"
		} else {
			value = "one"
		}
		fmt.Fprintf(&out, manifests, i, namespace, value)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
		return fmt.Errorf("writing manifests: %w", err)
	}
	return nil
}

const manifests = `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: app-%[1]d
  namespace: %[2]s
data:
  value: %[3]s
  config.yaml: |
    listen: 8080
    level: info
---
apiVersion: v1
kind: Service
metadata:
  name: app-%[1]d
  namespace: %[2]s
spec:
  selector:
    app: app-%[1]d
  ports:
  - name: http
    port: 80
    targetPort: http
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: app-%[1]d
  namespace: %[2]s
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: %[2]s
spec:
  replicas: 0
  selector:
    matchLabels:
      app: app-%[1]d
  template:
    metadata:
      labels:
        app: app-%[1]d
    spec:
      serviceAccountName: app-%[1]d
      containers:
      - name: app
        image: example.com/app:1.0.0
        ports:
        - name: http
          containerPort: 8080
        env:
        - name: LEVEL
          valueFrom:
            configMapKeyRef:
              name: app-%[1]d
              key: value
        resources:
          requests:
            cpu: 10m
            memory: 32Mi
`
