// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/render"
	"github.com/kustomizer/kustomizer/internal/trust"
)

func TestErrorsHaveTheirExitCode(t *testing.T) {
	t.Parallel()
	kustomization := schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}
	things := schema.GroupResource{Resource: "things"}
	for name, c := range map[string]struct {
		err  error
		exit int
		code string
	}{
		"any":                             {errors.New("no luck"), ExitFailed, "Failed"},
		"usage":                           {&UsageError{Message: "wrong"}, ExitUsage, "Usage"},
		"no cluster":                      {&NoClusterError{}, ExitUsage, "NoCluster"},
		"kubeconfig":                      {&KubeconfigError{Err: errors.New("bad")}, ExitUsage, "Kubeconfig"},
		"interrupt":                       {&SignalError{Name: "interrupt", Number: int(syscall.SIGINT)}, ExitInterrupted, "Interrupted"},
		"termination":                     {&SignalError{Name: "terminated", Number: int(syscall.SIGTERM)}, ExitTerminated, "Interrupted"},
		"declined":                        {&DeclinedError{}, ExitFailed, "Declined"},
		"refused":                         {&RefusedError{Message: "no"}, ExitRefused, "Refused"},
		"not found":                       {&NotFoundError{What: "it"}, ExitNotFound, "NotFound"},
		"own time limit":                  {fmt.Errorf("%w: %w", &TimeoutError{After: time.Second}, context.DeadlineExceeded), ExitNotReady, "TimedOut"},
		"deadline":                        {context.DeadlineExceeded, ExitNotReady, "TimedOut"},
		"waited too long":                 {&WaitError{After: time.Second}, ExitNotReady, "TimedOut"},
		"held, as the message says":       {&ConditionError{ID: object.ID{Name: "app", Namespace: "apps"}, Reason: ReasonPruneHeld, Message: "To delete them: kustomizer approve prune ks/app -n apps"}, ExitRefused, ReasonPruneHeld},
		"not recorded, no rights":         {&deploy.NotRecordedError{Err: apierrors.NewForbidden(things, "a", errors.New("no"))}, ExitAuth, "NotRecorded"},
		"not recorded, too large":         {&deploy.NotRecordedError{Err: &record.TooLargeError{}}, ExitRefused, "NotRecorded"},
		"not recorded, away":              {&deploy.NotRecordedError{Err: apierrors.NewServiceUnavailable("")}, ExitFailed, "NotRecorded"},
		"still there":                     {&deploy.StillThereError{}, ExitNotReady, "StillThere"},
		"an agent's inventory":            {&deploy.AgentInventoryError{}, ExitRefused, "AgentInventory"},
		"no record":                       {&deploy.NoRecordError{}, ExitNotFound, "NotFound"},
		"held":                            {&ConditionError{Reason: ReasonPruneHeld}, ExitRefused, ReasonPruneHeld},
		"not healthy":                     {&ConditionError{Reason: ReasonHealthCheckFailed}, ExitNotReady, ReasonHealthCheckFailed},
		"condition":                       {&ConditionError{Reason: "ReconciliationFailed"}, ExitFailed, "ReconciliationFailed"},
		"kind of Flux missing":            {&cluster.KindError{GroupKind: kustomization}, ExitNotFound, "KindMissing"},
		"unauthorised":                    {apierrors.NewUnauthorized("who?"), ExitAuth, "Unauthorized"},
		"forbidden":                       {apierrors.NewForbidden(things, "a", errors.New("no")), ExitAuth, "PermissionDenied"},
		"object not found":                {fmt.Errorf("reading: %w", apierrors.NewNotFound(things, "a")), ExitNotFound, "NotFound"},
		"conflict":                        {apierrors.NewConflict(things, "a", errors.New("changed")), ExitRefused, "Conflict"},
		"invalid object":                  {apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "a", nil), ExitInvalid, "InvalidObject"},
		"server timeout":                  {apierrors.NewTimeoutError("slow", 1), ExitNotReady, "ServerUnavailable"},
		"discovery without an answer":     {&cluster.DiscoveryError{GroupKind: kustomization, Err: refused()}, ExitFailed, "ConnectionRefused"},
		"connection refused":              {refused(), ExitFailed, "ConnectionRefused"},
		"refused by the server":           {&deploy.RefusedError{Steps: []plan.Step{{Cause: cause.Cause{Code: cause.InvalidObject}}}}, ExitInvalid, "Refused"},
		"refused for want of a right":     {&deploy.RefusedError{Steps: []plan.Step{{Cause: cause.Cause{Code: cause.PermissionDenied}}}}, ExitAuth, "Refused"},
		"refused while a webhook is away": {&deploy.RefusedError{Steps: []plan.Step{{Cause: cause.Cause{Code: cause.WebhookUnavailable}}}}, ExitFailed, "Refused"},
		"unknown host":                    {&net.DNSError{Name: "nowhere.example", IsNotFound: true}, ExitFailed, "HostUnknown"},
		"file missing":                    {&fs.PathError{Op: "open", Path: "a", Err: fs.ErrNotExist}, ExitUsage, "FileNotFound"},
		"file forbidden":                  {&fs.PathError{Op: "open", Path: "a", Err: fs.ErrPermission}, ExitFailed, "FilePermission"},
		"reference":                       {&artifact.ReferenceError{Given: "a", Reason: "b"}, ExitUsage, "Reference"},
		"archive refused":                 {&artifact.RefusedError{Reason: artifact.HardLinkNotAllowed}, ExitInvalid, "HardLinkNotAllowed"},
		"format of the future":            {&artifact.FormatError{Version: "9"}, ExitInvalid, "FormatUnknown"},
		"no layer":                        {&artifact.LayerError{}, ExitInvalid, "NoArtifact"},
		"bad YAML":                        {fmt.Errorf("building: %w", &object.SyntaxError{Reason: "bad"}), ExitInvalid, ReasonBuildFailed},
		"bad kustomization":               {&render.BuildError{Reason: "bad"}, ExitInvalid, ReasonBuildFailed},
		"path missing":                    {&render.PathError{Path: "a", Reason: "is not there"}, ExitInvalid, "PathNotFound"},
		"registry says who are you":       {&registry.Error{Code: registry.Unauthorized}, ExitAuth, "RegistryUnauthorized"},
		"registry says there is none":     {&registry.Error{Code: registry.NotFound}, ExitNotFound, "RegistryNotFound"},
		"registry gave other bytes":       {&registry.Error{Code: registry.DigestMismatch}, ExitUnverified, "RegistryDigestMismatch"},
		"registry away":                   {&registry.Error{Code: registry.Unreachable}, ExitFailed, "RegistryUnreachable"},
		"registry slow":                   {&registry.Error{Code: registry.TimedOut, Err: context.DeadlineExceeded}, ExitNotReady, "RegistryTimedOut"},
		"no signature":                    {&trust.UntrustedError{Reason: trust.NoSignature}, ExitUnverified, "NoSignature"},
		"wrong signature":                 {&trust.UntrustedError{Reason: trust.NotTrusted}, ExitUnverified, "NotTrusted"},
		"no policy":                       {&trust.PolicyError{Message: "none"}, ExitUsage, "Policy"},
		"key without a password":          {&trust.SigningError{Err: &trust.PasswordError{}}, ExitUsage, "KeyPassword"},
		"no token":                        {&trust.TokenError{}, ExitAuth, "NoToken"},
		"log away":                        {&trust.SigningError{Err: &trust.ServiceError{}}, ExitFailed, "SigningService"},
		"registry away while signing":     {&trust.SigningError{Err: &registry.Error{Code: registry.Unauthorized}}, ExitAuth, "RegistryUnauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Of(fmt.Errorf("doing it: %w", c.err))
			if p.Exit != c.exit || p.Code != c.code || p.Line == "" {
				t.Errorf("got %+v, want exit %d and code %s", p, c.exit, c.code)
			}
		})
	}
}

func refused() error {
	return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func TestCollectedErrorsAreAllTold(t *testing.T) {
	t.Parallel()
	err := errors.Join(&NotFoundError{What: "one"}, nil, errors.Join(&UsageError{Message: "two"}, errors.New("three")))
	var lines []string
	for _, p := range All(err) {
		lines = append(lines, p.Line)
	}
	if diff := cmp.Diff([]string{"one was not found", "two", "three"}, lines); diff != "" {
		t.Error(diff)
	}
	if got := Exit(All(err)); got != ExitNotFound {
		t.Errorf("exit code %d, want that of the first error", got)
	}
	wrapped := fmt.Errorf("%w: %w", &TimeoutError{After: time.Second}, context.DeadlineExceeded)
	if got := len(All(wrapped)); got != 1 {
		t.Errorf("an error that wraps two was taken apart into %d", got)
	}
	if All(nil) != nil || Exit(nil) != ExitDone {
		t.Error("no error is no problem")
	}
}

func TestHintsOfRegistriesSayWhereWasLooked(t *testing.T) {
	t.Parallel()
	p := Of(&registry.Error{Code: registry.Unauthorized, Host: "ghcr.io", LookedIn: []string{"/home/a/.docker/config.json"}})
	const want = "no credentials for ghcr.io (looked in /home/a/.docker/config.json): kustomizer login ghcr.io"
	if p.Hint != want {
		t.Errorf("got %q, want %q", p.Hint, want)
	}
}

func TestHeldPlansAreFoundInMessages(t *testing.T) {
	t.Parallel()
	const hash = "1f1ed2aa55101f1ed2aa55101f1ed2aa55101f1ed2aa55101f1ed2aa55101f1e"
	for name, message := range map[string]string{
		"as the engine writes it": "deletions are held: all. Held: Service/a/b (plan " + hash + ")",
		"with the algorithm":      "held, plan sha256:" + hash + ".",
	} {
		if got, ok := HeldPlan(message); !ok || got != hash {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if _, ok := HeldPlan("plan 1f1ed2aa5510"); ok {
		t.Error("a shortened hash was taken for a whole one")
	}
}

func TestForeignTextIsMadeHarmless(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, ünïcode ✔":        "plain, ünïcode ✔",
		"\x1b[31mred":             `\x1b[31mred`,
		"a\nb\tc\r":               `a\nb\tc\r`,
		"left\u202eright":         `left\u202eright`,
		"zero\u200bwidth\ufeff":   `zero\u200bwidth\ufeff`,
		"bad \xff byte":           `bad \xff byte`,
		"c1 \u009b31m":            `c1 \x9b31m`,
		"real \uFFFD stays":       "real \uFFFD stays",
		"separator\u2028 escaped": `separator\u2028 escaped`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if diff := cmp.Diff([]string{"one", `  two\x1b`, "", "three"}, Lines("one\n\ttwo\x1b\r\n\nthree\n\n")); diff != "" {
		t.Error(diff)
	}
	if got := OneLine(" a\n  b\x1b "); got != `a b\x1b` {
		t.Errorf("OneLine: %q", got)
	}
}

func TestAWaitThatFailsNamesTheTrueCauseFirst(t *testing.T) {
	t.Parallel()
	of := func(name string, code cause.Code) observe.NotReady {
		return observe.NotReady{ID: object.ID{Kind: "ConfigMap", Name: name}, Status: health.Status{Cause: cause.Cause{Code: code}}}
	}
	var pending []observe.NotReady
	for i := range 12 {
		pending = append(pending, of(fmt.Sprintf("vague-%02d", i), cause.NotReadyYet))
	}
	p := Of(&deploy.NotHealthyError{Timeout: true, Report: observe.Report{Pending: append(pending, of("guilty", cause.ImagePull))}})
	if want := "timed out waiting for health: ConfigMap/guilty not ready: ImagePull; ConfigMap/vague-00 "; !strings.HasPrefix(p.Line, want) {
		t.Errorf("the line %q does not begin with %q", p.Line, want)
	}
	if want := "; and 3 more"; !strings.HasSuffix(p.Line, want) {
		t.Errorf("the line %q does not end with %q", p.Line, want)
	}
	if p.Hint != cause.ImagePull.Hint() {
		t.Errorf("the hint is %q", p.Hint)
	}
}

// The command line does not try again by itself: it must not promise that.
func TestABusyServerIsForThePersonToTryAgain(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"away":    apierrors.NewServiceUnavailable("busy"),
		"busy":    apierrors.NewTooManyRequests("busy", 1),
		"refused": &deploy.RefusedError{Steps: []plan.Step{{Cause: cause.Cause{Code: cause.Throttled}}}},
		"record":  &deploy.NotRecordedError{Err: apierrors.NewServiceUnavailable("busy")},
	} {
		hint := Of(err).Hint
		if !strings.Contains(hint, "then run the command again") || strings.Contains(hint, "is tried again") {
			t.Errorf("%s: hint %q", name, hint)
		}
	}
}

// How a hold is released is said once.
func TestReleaseIsSaidOnce(t *testing.T) {
	t.Parallel()
	e := &ConditionError{ID: object.ID{Kind: "Kustomization", Name: "app", Namespace: "apps"}, Reason: ReasonPruneHeld, Message: "2 objects would go"}
	if hint := Of(e).Hint; !strings.Contains(hint, Release(e)) {
		t.Errorf("hint %q", hint)
	}
	e.Message += ". To delete them: " + Release(e)
	if p := Of(e); strings.Count(p.Line+p.Hint, Release(e)) != 1 {
		t.Errorf("said: %s\nhint: %s", p.Line, p.Hint)
	}
}
