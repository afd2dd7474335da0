// SPDX-License-Identifier: Apache-2.0

package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
)

func TestWarningsAreUnderstood(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		events []string
		want   cause.Cause
	}{
		"a volume": {[]string{`{reason: FailedMount, message: "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found"}`},
			cause.Cause{Code: cause.VolumeMount, Detail: `MountVolume.SetUp failed for volume "v" : configmap "c" not found`}},
		"a volume, and that it took too long": {[]string{
			`{reason: FailedMount, lastTimestamp: "2026-01-01T00:00:09Z", message: "Unable to attach or mount volumes: timed out waiting for the condition"}`,
			`{reason: FailedMount, lastTimestamp: "2026-01-01T00:00:01Z", message: "secret \"s\" not found"}`},
			cause.Cause{Code: cause.VolumeMount, Detail: `secret "s" not found`}},
		"the newest": {[]string{
			`{reason: FailedAttachVolume, lastTimestamp: "2026-01-01T00:00:01Z", message: old}`,
			`{reason: FailedAttachVolume, series: {lastObservedTime: "2026-01-01T00:00:03.000000Z"}, message: new}`,
			`{reason: FailedAttachVolume, eventTime: "2026-01-01T00:00:02.000000Z", message: older}`},
			cause.Cause{Code: cause.VolumeMount, Detail: "new"}},
		"a sandbox": {[]string{`{reason: FailedCreatePodSandBox, message: no network}`}, cause.Cause{Code: cause.PodSandbox, Detail: "no network"}},
		"pods of a StatefulSet that are refused": {[]string{
			`{reason: FailedCreate, message: 'create Pod a-0 in StatefulSet a failed error: pods "a-0" is forbidden: exceeded quota: none'}`},
			cause.Cause{Code: cause.QuotaExceeded, Detail: "exceeded quota: none"}},
		"pods of a Job that are refused": {[]string{
			`{reason: FailedCreate, message: 'Error creating: pods "a-x" is forbidden: ValidatingAdmissionPolicy ''p'' with binding ''b'' denied request: no'}`},
			cause.Cause{Code: cause.PolicyDenied, Detail: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"}},
		"what nobody understands": {[]string{`{reason: Strange, message: things}`}, cause.Cause{}},
		"nothing":                 {nil, cause.Cause{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []*unstructured.Unstructured
			for _, e := range tc.events {
				events = append(events, parse(t, "{apiVersion: v1, kind: Event, "+e[1:]))
			}
			if diff := cmp.Diff(tc.want, FromEvents(events)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEventsAreReadOnlyOfWhatPuzzles(t *testing.T) {
	t.Parallel()
	creating := podWith(`state: {waiting: {reason: ContainerCreating}}`)
	for name, tc := range map[string]struct {
		workload, want string
		pods           []string
	}{
		"a pod that is being created":        {unready, "a-1", []string{creating}},
		"a pod that says why":                {unready, "", []string{podWith(`state: {waiting: {reason: ErrImagePull}}`)}},
		"a Deployment without pods":          {unready, "", nil},
		"a Job without pods":                 {badJob, "a", nil},
		"a Job of which a pod is being made": {badJob, "a-1", []string{creating}},
		"a Job of which a pod has ended":     {badJob, "a", []string{podWith(`state: {terminated: {exitCode: 1}}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pods []*unstructured.Unstructured
			for _, p := range tc.pods {
				pods = append(pods, parse(t, p))
			}
			got := ""
			if subject := Puzzle(parse(t, tc.workload), pods); subject != nil {
				got = subject.GetName()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
