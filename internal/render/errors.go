// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"

	"github.com/kustomizer/kustomizer/internal/object"
)

// PathError says that the path to render is not a directory of the artifact.
type PathError struct {
	Path   string // as it was asked for
	Reason string
}

// Error returns the path and what is wrong with it.
func (e *PathError) Error() string { return fmt.Sprintf("path %q %s", e.Path, e.Reason) }

// RemoteError says that a kustomization names something outside of the artifact that would have to
// be downloaded.
type RemoteError struct {
	object.Position        // where it is named
	Field           string // field of the kustomization
	Source          string // what is named, without credentials
}

// Error returns the place, the field and the source.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s: %s: remote source %s is not loaded: put its files into the artifact", e.Position, e.Field, e.Source)
}

// BuildError says why a sound set of files can't be built.
type BuildError struct {
	object.Position // the kustomization or file at fault; the zero value if it is not known
	Reason          string
}

// Error returns the place, if known, and the reason on one line.
func (e *BuildError) Error() string {
	if e.File == "" {
		return e.Reason
	}
	return e.Position.String() + ": " + e.Reason
}

// EmptyReason says why a tree renders to no objects. The zero value means that it renders to some.
type EmptyReason struct {
	Code  EmptyCode
	Files int // files that were looked at
}

// EmptyCode is the kind of emptiness. It is stable: status conditions show it.
type EmptyCode string

// The ways in which a tree can be empty.
const (
	NotEmpty        EmptyCode = ""
	NoFiles         EmptyCode = "NoFiles"
	NoManifests     EmptyCode = "NoManifests"
	OnlyComments    EmptyCode = "OnlyComments"
	NoResources     EmptyCode = "NoResources"
	NothingRendered EmptyCode = "NothingRendered"
)

// String returns the reason as part of a sentence.
func (e EmptyReason) String() string {
	switch e.Code {
	case NotEmpty:
		return ""
	case NoFiles:
		return "the artifact holds no files"
	case NoManifests:
		return fmt.Sprintf("no YAML files (%d other %s)", e.Files, plural("file", e.Files))
	case OnlyComments:
		return fmt.Sprintf("only comments or empty documents in %d YAML %s", e.Files, plural("file", e.Files))
	case NoResources:
		return "the kustomization lists no resources"
	default:
		return "the kustomization leaves no objects"
	}
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func panicked(p any) error {
	return &BuildError{Reason: "kustomize can't cope with this input: " + oneLine(fmt.Sprint(p))}
}

// maxReason bounds what is quoted of kustomize's messages, which can repeat whole files.
const maxReason = 1024

// oneLine joins the lines of a message and cuts it where it is too long.
func oneLine(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= maxReason {
		return message
	}
	return strings.ToValidUTF8(message[:maxReason], "") + " (cut)"
}
