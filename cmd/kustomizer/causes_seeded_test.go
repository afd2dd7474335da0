// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// seededFailures are all failures, by the name of their namespace.
func seededFailures() map[string]seeded {
	all := map[string]seeded{}
	for _, some := range []map[string]seeded{
		failingContainers(), failingPods(), failingJobs(), failingAdmission(), failingRequests(), failingObjects(),
	} {
		maps.Copy(all, some)
	}
	return all
}

// template is a pod's template, with more of its spec and of its container. The node leaves pods
// with the annotation alone.
func template(spec, container string) string {
	return fmt.Sprintf(`{metadata: {labels: {app: app, seeded: "yes"}, annotations: {sandbox.kustomizer.dev/fail: seeded}},
      spec: {%s containers: [{name: app, image: "example.com/app:1"%s}]}}`, spec, container)
}

// workload is a Deployment with more of its pods' spec and of their container.
func workload(spec, container string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NS}
spec: {selector: {matchLabels: {app: app}}, template: %s}
`, template(spec, container))
}

// status is a pod's, of one container in the given state.
func status(phase, state string) string {
	return fmt.Sprintf(`{phase: %s, containerStatuses: [{name: app, image: "example.com/app:1", imageID: "", ready: false, %s}]}`, phase, state)
}

func waitingFor(reason, message string) string {
	text, _ := json.Marshal(message)
	return status("Pending", fmt.Sprintf(`restartCount: 0, state: {waiting: {reason: %s, message: %s}}`, reason, text))
}

const (
	configMap = "\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NS}, data: {a: b}}"
	claimed   = `volumes: [{name: data, persistentVolumeClaim: {claimName: data}}],`
	claim     = "\n---\n{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: NS}, spec: {%saccessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
	noPods    = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: none, namespace: NS}, spec: {hard: {pods: 0, services: 0}}}"
)

// failingContainers are what only a kubelet knows.
func failingContainers() map[string]seeded {
	return map[string]seeded{
		"image-not-found": {manifests: workload("", ""), code: cause.ImagePull, says: `image "example.com/app:1" of container "app": not found`,
			pod: waitingFor("ImagePullBackOff", `Back-off pulling image "example.com/app:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image: not found`)},
		"image-denied": {manifests: workload("", ""), code: cause.ImagePull, says: "access denied",
			pod: waitingFor("ErrImagePull", "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized")},
		"image-rate-limit": {manifests: workload("", ""), code: cause.ImagePull, says: "limits the rate of pulls",
			pod: waitingFor("ErrImagePull", "toomanyrequests: You have reached your pull rate limit.")},
		"image-registry-away": {manifests: workload("", ""), code: cause.ImagePull, says: "registry can't be reached",
			pod: waitingFor("ErrImagePull", "dial tcp: lookup registry.invalid: no such host")},
		"image-name": {manifests: workload("", ""), code: cause.ImagePull, says: "name is not valid",
			pod: waitingFor("InvalidImageName", `Failed to apply default image tag "A:B:C"`)},
		"image-of-init-container": {manifests: workload(`initContainers: [{name: migrate, image: "example.com/migrate:9"}],`, ""),
			code: cause.ImagePull, says: `image "example.com/migrate:9" of init container "migrate": not found`,
			pod: `{phase: Pending, initContainerStatuses: [{name: migrate, image: "example.com/migrate:9", imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: ErrImagePull, message: manifest unknown}}}],
				containerStatuses: [{name: app, image: "example.com/app:1", imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]}`},
		"crash-loop": {manifests: workload("", ""), code: cause.CrashLoop, says: `container "app" exited with code 2`,
			pod: status("Running", `restartCount: 5, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, reason: Error}}`)},
		"crash-loop-between": {manifests: workload("", ""), code: cause.CrashLoop, says: "exited with code 137",
			pod: status("Running", `restartCount: 2, state: {running: {}}, lastState: {terminated: {exitCode: 137, reason: Error}}`)},
		"out-of-memory": {manifests: workload("", ""), code: cause.OutOfMemory, says: `container "app"`,
			pod: status("Running", `restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}`)},
		"init-container-fails": {manifests: workload(`initContainers: [{name: migrate, image: "example.com/migrate:1"}],`, ""),
			code: cause.CrashLoop, says: `init container "migrate" exited with code 3`,
			pod: `{phase: Pending, initContainerStatuses: [{name: migrate, image: "example.com/migrate:1", imageID: "", ready: false, restartCount: 4, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 3, reason: Error}}}],
				containerStatuses: [{name: app, image: "example.com/app:1", imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]}`},
		"config-map-missing": {manifests: workload("", `, envFrom: [{configMapRef: {name: nothing}}]`), code: cause.ContainerConfig, says: `configmap "nothing" not found`,
			pod: waitingFor("CreateContainerConfigError", `configmap "nothing" not found`)},
		"secret-key-missing": {manifests: workload("", ""), code: cause.ContainerConfig, says: "couldn't find key password",
			pod: waitingFor("CreateContainerConfigError", "couldn't find key password in Secret NS/db")},
		"command-missing": {manifests: workload("", ""), code: cause.ContainerConfig, says: "no such file or directory",
			pod: status("Running", `restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 128, reason: StartError, message: "exec: \"/bin/app\": stat /bin/app: no such file or directory"}}`)},
		"volume-config-map-missing": {manifests: workload(`volumes: [{name: v, configMap: {name: nothing}}],`, ""), code: cause.VolumeMount, says: `configmap "nothing" not found`,
			event: `FailedMount: MountVolume.SetUp failed for volume "v" : configmap "nothing" not found`},
		"no-sandbox": {manifests: workload("", ""), code: cause.PodSandbox, says: "no IP addresses available",
			event: `FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = failed to set up network: no IP addresses available`},
		"readiness-probe": {manifests: workload("", `, readinessProbe: {httpGet: {path: /ready, port: 80}}`), code: cause.ReadinessProbe, says: `container "app"`,
			pod: status("Running", `restartCount: 0, state: {running: {}}`)},
	}
}

// failingPods are pods that get no node, or are not let in.
func failingPods() map[string]seeded {
	return map[string]seeded{
		"no-such-node":     {manifests: workload(`nodeSelector: {disk: gold},`, ""), code: cause.Unschedulable, says: "didn't match Pod's node affinity/selector"},
		"too-large":        {manifests: workload("", `, resources: {requests: {cpu: 2k}}`), code: cause.Unschedulable, says: "Insufficient cpu"},
		"gated":            {manifests: workload(`schedulingGates: [{name: example.com/approval}],`, ""), code: cause.Unschedulable, says: "gated by example.com/approval"},
		"claim-pending":    {manifests: workload(claimed, "") + fmt.Sprintf(claim, ""), code: cause.VolumePending, says: "unbound immediate PersistentVolumeClaims"},
		"claim-missing":    {manifests: workload(claimed, ""), code: cause.VolumePending, says: `persistentvolumeclaim "data" not found`},
		"claim-of-a-class": {manifests: fmt.Sprintf(claim, "storageClassName: nothing, "), code: cause.VolumePending, says: "storage class nothing"},
		"quota":            {before: quotaOf(noPods), manifests: workload("", ""), code: cause.QuotaExceeded, says: "exceeded quota: none"},
		"quota-statefulset": {before: quotaOf(noPods), code: cause.QuotaExceeded, says: "exceeded quota: none",
			manifests: "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: app, namespace: NS}, spec: {serviceName: app, selector: {matchLabels: {app: app}}, template: " + template("", "") + "}}"},
		"quota-daemonset": {before: quotaOf(noPods), code: cause.QuotaExceeded, says: "exceeded quota: none",
			manifests: "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: app, namespace: NS}, spec: {selector: {matchLabels: {app: app}}, template: " + template("", "") + "}}"},
		"limit-range": {before: func(s *seeding) {
			s.create("{apiVersion: v1, kind: LimitRange, metadata: {name: small, namespace: NS}, spec: {limits: [{type: Container, max: {memory: 1Mi}}]}}")
		}, manifests: workload("", `, resources: {limits: {memory: 1Gi}}`), code: cause.PodRefused, says: "maximum memory usage per Container is 1Mi"},
		"service-account-missing": {manifests: workload(`serviceAccountName: nobody,`, ""), code: cause.ServiceAccountMissing, says: `serviceaccount "nobody" not found`},
		"pod-security":            {before: restricted, manifests: workload(`hostNetwork: true,`, ""), code: cause.PodSecurity, says: "host namespaces"},
		"pod-that-fails": {code: cause.ContainerFailed, says: `container "app" exited with code 4`, pod: status("Failed", `restartCount: 0, state: {terminated: {exitCode: 4, reason: Error}}`),
			manifests: "{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: NS, labels: {seeded: 'yes'}, annotations: {sandbox.kustomizer.dev/fail: seeded}}, spec: {restartPolicy: Never, containers: [{name: app, image: a}]}}"},
		"pod-evicted": {code: cause.Evicted, says: "low on resource: memory", pod: `{phase: Failed, reason: Evicted, message: "The node was low on resource: memory."}`,
			manifests: "{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: NS, labels: {seeded: 'yes'}, annotations: {sandbox.kustomizer.dev/fail: seeded}}, spec: {containers: [{name: app, image: a}]}}"},
		"paused": {manifests: strings.Replace(workload("", ""), "spec: {selector", "spec: {paused: true, selector", 1), code: cause.Suspended, says: "paused"},
		"progress-deadline": {manifests: strings.Replace(workload("", ""), "spec: {selector", "spec: {progressDeadlineSeconds: 1, selector", 1),
			code: cause.ProgressDeadline, says: "ProgressDeadlineExceeded"},
	}
}

// quotaOf makes a quota and waits until it counts.
func quotaOf(quota string) func(*seeding) {
	return func(s *seeding) {
		s.create(quota)
		testkit.Eventually(s.t, "the quota's status", 30*time.Second, func() error {
			if out := s.env.Kubectl(s.t, "-n", s.namespace, "get", "quota", "none", "-o", "jsonpath={.status.hard.pods}"); out != "0" {
				return fmt.Errorf("hard pods: %q", out)
			}
			return nil
		})
	}
}

func restricted(s *seeding) {
	s.env.Kubectl(s.t, "label", "namespace", s.namespace, "pod-security.kubernetes.io/enforce=baseline")
}

func jobOf(spec string) string {
	return "{apiVersion: batch/v1, kind: Job, metadata: {name: app, namespace: NS}, spec: {" + spec + ", template: " + template("restartPolicy: Never,", "") + "}}"
}

func failingJobs() map[string]seeded {
	return map[string]seeded{
		"job-fails": {manifests: jobOf("backoffLimit: 0"), code: cause.ContainerFailed, says: `container "app" exited with code 7`,
			pod: status("Failed", `restartCount: 0, state: {terminated: {exitCode: 7, reason: Error}}`)},
		"job-deadline":  {manifests: jobOf("activeDeadlineSeconds: 1"), code: cause.JobFailed, says: "DeadlineExceeded"},
		"job-quota":     {before: quotaOf(noPods), manifests: jobOf("backoffLimit: 0"), code: cause.QuotaExceeded, says: "exceeded quota: none"},
		"job-suspended": {manifests: jobOf("suspend: true"), code: cause.Suspended, says: "suspended"},
	}
}

// failingAdmission are objects that the API server's plug-ins and webhooks refuse.
func failingAdmission() map[string]seeded {
	return map[string]seeded{
		"webhook-refuses": {before: func(s *seeding) { s.webhook(s.refusing(), "configmaps") }, manifests: configMap, code: cause.WebhookDenied, says: `"policy.webhook-refuses.example" denied the request: not on a Friday`},
		"webhook-down":    {before: func(s *seeding) { s.webhook(s.nobody(), "configmaps") }, manifests: configMap, code: cause.WebhookUnavailable, says: `"policy.webhook-down.example"`},
		"webhook-refuses-pods": {before: func(s *seeding) { s.webhook(s.refusing(), "pods") }, manifests: workload("", ""), code: cause.WebhookDenied,
			says: `"policy.webhook-refuses-pods.example" denied the request: not on a Friday`},
		"webhook-down-for-pods": {before: func(s *seeding) { s.webhook(s.nobody(), "pods") }, manifests: workload("", ""), code: cause.WebhookUnavailable, says: `"policy.webhook-down-for-pods.example"`},
		"admission-policy":      {before: policy, manifests: configMap, code: cause.PolicyDenied, says: "no settings here"},
		"quota-of-objects":      {before: quotaOf(noPods), manifests: "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: NS}, spec: {ports: [{port: 80}]}}", code: cause.QuotaExceeded, says: "exceeded quota: none"},
		"pod-security-of-a-pod": {before: restricted, code: cause.PodSecurity, says: "host namespaces",
			manifests: "{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: NS}, spec: {hostNetwork: true, containers: [{name: app, image: a}]}}"},
	}
}

// An endpoint is where a webhook is, and the certificate of the authority that vouches for it.
type endpoint struct{ url, ca string }

// refusing starts a webhook that refuses everything, and nobody returns an address at which none listens.
func (s *seeding) refusing() endpoint {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct{ Request struct{ UID string } }
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": %q, "allowed": false, "status": {"message": "not on a Friday"}}}`, review.Request.UID)
	}))
	s.t.Cleanup(server.Close)
	return endpoint{server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))}
}

func (s *seeding) nobody() endpoint {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Error(err)
		return endpoint{}
	}
	defer listener.Close()
	return endpoint{url: "https://" + listener.Addr().String()}
}

// webhook has one asked about a resource in the failure's namespace, and waits until it is.
func (s *seeding) webhook(at endpoint, resource string) {
	s.create(fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NS}
webhooks:
- name: policy.NS.example
  clientConfig: {url: %q, caBundle: %q}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [%s]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
  objectSelector: {matchExpressions: [{key: app.kubernetes.io/component, operator: DoesNotExist}]}
  admissionReviewVersions: [v1]
  sideEffects: None
`, at.url, base64.StdEncoding.EncodeToString([]byte(at.ca)), resource))
	probes := map[string]string{
		"configmaps": `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}`,
		"pods":       `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}`,
	}
	s.untilRefused(probes[resource])
}

// untilRefused waits until the API server refuses an object in a dry-run: its webhooks and policies
// come into force with a delay.
func (s *seeding) untilRefused(object string) {
	testkit.Eventually(s.t, "being refused", 60*time.Second, func() error {
		kind := strings.ToLower(strings.Split(strings.Split(object, `"kind": "`)[1], `"`)[0]) + "s"
		err := s.env.Kube.CoreV1().RESTClient().Post().Namespace(s.namespace).Resource(kind).Param("dryRun", "All").
			SetHeader("Content-Type", "application/json").Body([]byte(object)).Do(s.t.Context()).Error()
		if err == nil {
			return fmt.Errorf("a %s is accepted", kind)
		}
		return nil
	})
}

func policy(s *seeding) {
	s.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "object.metadata.name != 'settings'", message: no settings here}]
`, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NS}
spec:
  policyName: NS
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}}
`)
	s.untilRefused(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}`)
}

// failingRequests are what the API server does not do for us.
func failingRequests() map[string]seeded {
	return map[string]seeded{
		"rbac-verb": {kubeconfig: allowed("get,list,watch"), manifests: configMap, says: `cannot patch resource "configmaps"`},
		"rbac-escalation": {kubeconfig: allowed("get,list,watch,create,patch,update,delete"), code: cause.PermissionDenied, says: "attempting to grant RBAC permissions not currently held",
			manifests: "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: all, namespace: NS}, rules: [{apiGroups: [apps], resources: [deployments], verbs: ['*']}]}"},
		"rbac-kind":         {kubeconfig: allowed("get,list,watch,create,patch,update,delete"), code: cause.PermissionDenied, says: `cannot patch resource "deployments"`, manifests: workload("", "")},
		"credentials":       {kubeconfig: func(s *seeding) string { return s.config(s.env.Server, "no-such-token") }, manifests: configMap, says: "does not accept these credentials"},
		"unreachable":       {kubeconfig: func(s *seeding) string { return s.config(s.nobody().url, "any") }, manifests: configMap, says: "connection refused"},
		"kind-missing":      {manifests: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: app, namespace: NS}}", code: cause.KindMissing, says: "Widget"},
		"namespace-missing": {manifests: strings.ReplaceAll(configMap, "NS", "nowhere"), code: cause.NamespaceMissing, says: `namespaces "nowhere" not found`},
		"namespace-terminating": {before: func(s *seeding) {
			s.create("{apiVersion: v1, kind: Namespace, metadata: {name: NS-going}}",
				"{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: NS-going, finalizers: [example.com/hold]}}")
			s.env.Kubectl(s.t, "delete", "namespace", s.namespace+"-going", "--wait=false")
		}, manifests: strings.ReplaceAll(configMap, "NS", "NS-going"), code: cause.NamespaceGoing, says: "being terminated"},
		"unknown-field": {manifests: "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: NS}, spec: {port: [{port: 80}]}}", code: cause.InvalidObject, says: ".spec.port"},
		"invalid-value": {manifests: "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: NS}, spec: {ports: [{port: 70000}]}}", code: cause.InvalidObject, says: "spec.ports[0].port"},
		"immutable-field": {before: func(s *seeding) {
			s.create(strings.ReplaceAll(strings.ReplaceAll(workload("", ""), "app: app", "app: other"), "seeded: \"yes\"", "a: b"))
		},
			manifests: workload("", ""), code: cause.ImmutableField, says: "spec.selector"},
		"immutable-config-map": {before: func(s *seeding) {
			s.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NS}, immutable: true, data: {a: c}}")
		}, manifests: "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NS}, immutable: true, data: {a: b}}", code: cause.ImmutableField, says: "data: Forbidden: field is immutable"},
	}
}

// allowed makes a user who may do the given verbs with ConfigMaps and Roles in the namespace.
func allowed(verbs string) func(*seeding) string {
	return func(s *seeding) string {
		user := s.env.User(s.t, "user-of-"+s.namespace)
		role := fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: some, namespace: NS}, rules: [{apiGroups: ['', rbac.authorization.k8s.io], resources: [configmaps, roles], verbs: ['%s']}]}",
			strings.ReplaceAll(verbs, ",", "', '"))
		if s.env.Kubectl(s.t, "-n", s.namespace, "get", "roles", "-o", "name") == "" {
			s.create(role)
			s.env.Kubectl(s.t, "-n", s.namespace, "create", "rolebinding", "some", "--role=some", "--user="+user.UserName)
			s.env.Kubectl(s.t, "create", "clusterrolebinding", s.namespace, "--clusterrole=view", "--user="+user.UserName)
		}
		return user.Kubeconfig
	}
}

// config writes a kubeconfig for a server and a token.
func (s *seeding) config(server, token string) string {
	config := clientcmdapi.NewConfig()
	config.Clusters["sandbox"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: s.env.CACert}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["sandbox"] = &clientcmdapi.Context{Cluster: "sandbox", AuthInfo: "user"}
	config.CurrentContext = "sandbox"
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		s.t.Error(err)
	}
	return path
}

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.NS.example}
spec:
  group: NS.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// widget makes a resource of the failure's own kind, with the conditions that its controller has set.
func (s *seeding) widget(conditions string) {
	s.create(widgets)
	s.env.Kubectl(s.t, "wait", "--for=condition=Established", "crd/widgets."+s.namespace+".example")
	testkit.Eventually(s.t, "the kind being served", 30*time.Second, func() error {
		return s.env.Kube.CoreV1().RESTClient().Get().AbsPath("/apis/" + s.namespace + ".example/v1/widgets").Do(s.t.Context()).Error()
	})
	s.create("{apiVersion: NS.example/v1, kind: Widget, metadata: {name: app, namespace: NS}}")
	s.env.Kubectl(s.t, "-n", s.namespace, "patch", "widgets."+s.namespace+".example", "app", "--subresource=status", "--type=merge", "-p", `{"status": {"conditions": `+conditions+`}}`)
}

// failingObjects are objects that are there and not as they should be.
func failingObjects() map[string]seeded {
	return map[string]seeded{
		"being-deleted": {before: func(s *seeding) {
			s.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NS, finalizers: [example.com/hold]}}")
			s.env.Kubectl(s.t, "-n", s.namespace, "delete", "configmap", "settings", "--wait=false")
		}, manifests: configMap, code: cause.BeingDeleted, says: "example.com/hold"},
		"finalizer": {before: func(s *seeding) {
			s.apply("app", strings.Replace(configMap, "NS}", "NS, finalizers: [example.com/hold]}", 1)+strings.ReplaceAll(configMap, "settings", "other"), nil, nil)
		}, manifests: strings.ReplaceAll(configMap, "settings", "other"), args: []string{"--prune", "--prune-guard=off"}, code: cause.FinalizerPending, says: "example.com/hold"},
		"stalled": {before: func(s *seeding) {
			s.widget(`[{"type": "Stalled", "status": "True", "reason": "BadSpec", "message": "no such colour"}]`)
		}, manifests: "{apiVersion: NS.example/v1, kind: Widget, metadata: {name: app, namespace: NS}}", code: cause.Stalled, says: "BadSpec: no such colour"},
		"not-ready-says-why": {before: func(s *seeding) {
			s.widget(`[{"type": "Ready", "status": "False", "reason": "NoLicence", "message": "the licence has expired"}]`)
		}, manifests: "{apiVersion: NS.example/v1, kind: Widget, metadata: {name: app, namespace: NS}}", code: cause.NotReadyYet, says: "NoLicence: the licence has expired"},
		"names-taken": {before: func(s *seeding) {
			s.create(widgets)
			s.env.Kubectl(s.t, "wait", "--for=condition=Established", "crd/widgets.names-taken.example")
		}, manifests: strings.NewReplacer("widgets.NS", "gadgets.NS", "plural: widgets", "plural: gadgets").Replace(widgets), code: cause.Conflict, says: "already in use"},
		"owned-by-another": {before: func(s *seeding) {
			s.apply("other", configMap, nil, nil)
		}, manifests: strings.Replace(configMap, "a: b", "a: c", 1), says: "it belongs to"},
	}
}
