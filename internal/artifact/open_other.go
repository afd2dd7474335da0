// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package artifact

import "os"

// toRead opens a file.
const toRead = os.O_RDONLY
