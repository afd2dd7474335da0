// SPDX-License-Identifier: Apache-2.0

//go:build unix

package artifact

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// toRead opens a file, without waiting for a writer where a pipe took its place since it was listed. It
// also spares four system calls with which package os would find out whether to wait.
const toRead = os.O_RDONLY | unix.O_NONBLOCK

// openIn opens a file of a directory that had so many bytes, without what package os keeps of a file, which takes
// as long as opening it. A symbolic link is not followed: where it leads is for [os.Root] to see.
func openIn(dir *os.File, name string, size int64) (io.ReadCloser, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case size == 0 && !isPlain(fd): // what came in place of another file has another length, or waits for its bytes
			return nil, errors.Join(errChanged, unix.Close(fd))
		default:
			return descriptor(fd), nil
		}
	}
}

func isPlain(fd int) bool {
	var info unix.Stat_t
	return unix.Fstat(fd, &info) == nil && info.Mode&unix.S_IFMT == unix.S_IFREG
}

// descriptor is the system's number of an open file.
type descriptor int

// Read implements io.Reader.
func (d descriptor) Read(p []byte) (int, error) {
	for {
		switch n, err := unix.Read(int(d), p); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN): // no plain file says so
			return 0, errChanged
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Close implements io.Closer.
func (d descriptor) Close() error { return unix.Close(int(d)) }
