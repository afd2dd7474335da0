// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/kustomizer/kustomizer/internal/deploy"

// ofPublish words why an artifact is not published, or not given out.
func ofPublish(err error) (Problem, bool) {
	if _, ok := as[*deploy.EmptyArtifactError](err); ok {
		return Problem{Code: "Empty", Exit: ExitInvalid, Hint: "if an artifact without objects is meant, say so: --allow-empty"}, true
	}
	if _, ok := as[*deploy.ChecksumError](err); ok {
		return Problem{Code: "ChecksumMismatch", Exit: ExitUnverified, Hint: "push it again, and look at who else may push there"}, true
	}
	if e, ok := as[*deploy.TagGuardError](err); ok {
		return Problem{Code: "TagNotMoved", Exit: ExitRefused, Hint: "look at what it points to: kustomizer inspect artifact " + e.Tag.URL()}, true
	}
	if _, ok := as[*deploy.ImagesError](err); ok {
		return Problem{Code: "ImagesMissing", Exit: ExitRefused, Hint: "push the images first, or correct their names"}, true
	}
	if _, ok := as[*deploy.UndatedError](err); ok {
		return Problem{Code: "Undated", Exit: ExitRefused, Hint: "choose by version with --semver, leave these out with --filter-regex, or name tags"}, true
	}
	if e, ok := as[*deploy.NoTagError](err); ok {
		return Problem{Code: "NotFound", Exit: ExitNotFound, Hint: "see: kustomizer list artifacts " + e.Repository.URL()}, true
	}
	return Problem{}, false
}
