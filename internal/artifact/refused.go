// SPDX-License-Identifier: Apache-2.0

package artifact

import "fmt"

// Reason is why an archive is refused, in one stable word.
type Reason string

// The reasons of a [RefusedError].
const (
	MediaTypeNotAccepted Reason = "MediaTypeNotAccepted" // no archive that is known
	Encrypted            Reason = "Encrypted"            // a layer that must be decrypted first
	Empty                Reason = "Empty"                // no bytes at all
	NotGzip              Reason = "NotGzip"              // declared as gzip, and is something else
	NotZstd              Reason = "NotZstd"              // declared as zstd, and is something else
	NotAge               Reason = "NotAge"               // declared as encrypted with age, and is not
	NotTar               Reason = "NotTar"               // what is inside, or declared as tar, is something else
	Corrupt              Reason = "Corrupt"              // checksum or structure of the compressed stream
	Truncated            Reason = "Truncated"            // ends early, or lacks the blocks that end a tar
	TrailingData         Reason = "TrailingData"         // bytes after the end
	MultipleMembers      Reason = "MultipleMembers"      // more than one gzip member
	MalformedHeader      Reason = "MalformedHeader"      // a tar header that makes no sense
	SymlinkNotAllowed    Reason = "SymlinkNotAllowed"
	HardLinkNotAllowed   Reason = "HardLinkNotAllowed"
	DeviceNotAllowed     Reason = "DeviceNotAllowed" // character and block devices, FIFOs
	SparseNotAllowed     Reason = "SparseNotAllowed"
	GlobalHeader         Reason = "GlobalHeader"        // a header that changes entries after it
	EntryTypeNotAllowed  Reason = "EntryTypeNotAllowed" // anything else that is neither file nor directory
	PathEscapes          Reason = "PathEscapes"         // absolute, or with ..
	BadPath              Reason = "BadPath"             // not a clean relative path in UTF-8
	PathTooLong          Reason = "PathTooLong"
	PathTooDeep          Reason = "PathTooDeep"
	DuplicatePath        Reason = "DuplicatePath"
	PathCollides         Reason = "PathCollides" // same path on file systems that fold case or Unicode forms
	FileAndDirectory     Reason = "FileAndDirectory"
	TooManyEntries       Reason = "TooManyEntries"
	FileTooLarge         Reason = "FileTooLarge"
	TooLarge             Reason = "TooLarge"
	HeaderTooLarge       Reason = "HeaderTooLarge"
	RatioTooHigh         Reason = "RatioTooHigh" // a compression bomb
)

// RefusedError says why an archive is not unpacked. Nothing of it is left behind.
type RefusedError struct {
	Reason Reason
	Entry  string // name of the entry as the archive has it, or empty
	Detail string // more in words, or empty
}

// Error returns reason, entry and detail on one line, the entry quoted so that control characters
// in it are harmless.
func (e *RefusedError) Error() string {
	s := "archive refused: " + string(e.Reason)
	if e.Entry != "" {
		s += fmt.Sprintf(" %q", clip(e.Entry))
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func refuse(reason Reason, entry, detail string, args ...any) *RefusedError {
	return &RefusedError{Reason: reason, Entry: entry, Detail: fmt.Sprintf(detail, args...)}
}
