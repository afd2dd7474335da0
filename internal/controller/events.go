// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// events tells what happened as Kubernetes events, through the core/v1 recorder: the newer API
// cuts notes at 1 KiB.
type events struct{ recorder record.EventRecorder }

// reasonCorrected is the reason of events that list what was put back although nothing new was
// asked for.
const reasonCorrected = "DriftCorrected"

// maxNote bounds an event's message, as Flux does with what it sends to its notifier.
const maxNote = 16 << 10

func (e events) normal(obj runtime.Object, annotations map[string]string, reason, message string) {
	e.recorder.AnnotatedEventf(obj, annotations, corev1.EventTypeNormal, reason, "%s", message)
}

func (e events) warn(obj runtime.Object, annotations map[string]string, reason, message string) {
	e.recorder.AnnotatedEventf(obj, annotations, corev1.EventTypeWarning, reason, "%s", truncate(message))
}

// news is what is to be told as soon as the status that says the same has been written. A look at an
// outdated copy, whose write is refused, so tells nothing that was told before.
type news struct{ pending []func() }

func (n *news) later(tell func()) { n.pending = append(n.pending, tell) }

func (n *news) tell() {
	for _, tell := range n.pending {
		tell()
	}
	n.pending = nil
}

// changes lists what was done, one object a line. Corrections are told apart from changes that
// were asked for.
func (e events) changes(obj runtime.Object, src artifactSource, done []apply.Change) {
	var asked, corrected []string
	for _, c := range done {
		line := fmt.Sprintf("%s %s", c.ID, c.Verb())
		if c.Unrehearsed != "" {
			line += " (" + plan.Unrehearsable(c.Unrehearsed) + ")"
		}
		if c.Correct {
			corrected = append(corrected, line)
		} else {
			asked = append(asked, line)
		}
	}
	e.list(obj, src, meta.ProgressingReason, asked)
	e.list(obj, src, reasonCorrected, corrected)
}

func (e events) list(obj runtime.Object, src artifactSource, reason string, lines []string) {
	if len(lines) == 0 {
		return
	}
	size, shown := 0, 0
	for _, line := range lines {
		if size += len(line) + 1; size > maxNote {
			break
		}
		shown++
	}
	message := strings.Join(lines[:shown], "\n")
	if rest := len(lines) - shown; rest > 0 {
		message += fmt.Sprintf("\n… and %d more", rest)
	}
	e.normal(obj, src.annotations(), reason, message)
}
