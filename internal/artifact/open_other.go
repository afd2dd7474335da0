// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package artifact

import (
	"errors"
	"io"
	"os"
)

// toRead opens a file.
const toRead = os.O_RDONLY

// openIn has no way here that is as safe as [os.Root]'s.
func openIn(*os.File, string, int64) (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
