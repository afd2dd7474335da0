// SPDX-License-Identifier: Apache-2.0

package artifact

// Limits bound what is read and written for one artifact. A zero field stands for its default.
type Limits struct {
	Compressed  int64 // bytes of the layer as it is in the registry
	Extracted   int64 // bytes of all files together
	File        int64 // bytes of one file
	Entries     int   // files and directories
	HeaderBytes int64 // bytes of the headers of one entry
	PathBytes   int   // length of a path
	Depth       int   // directories in a path, with the file
	Ratio       int64 // extracted to compressed, once RatioFrom bytes are extracted
	RatioFrom   int64
}

// DefaultLimits returns the limits that hold where nothing else is configured.
func DefaultLimits() Limits {
	const mib = 1 << 20
	return Limits{
		Compressed:  256 * mib,
		Extracted:   1024 * mib,
		File:        64 * mib,
		Entries:     20_000,
		HeaderBytes: 64 << 10,
		PathBytes:   1024,
		Depth:       32,
		Ratio:       100,
		RatioFrom:   10 * mib,
	}
}

// EncryptedLimits returns the limits of an artifact that is encrypted: it is unpacked in memory.
func EncryptedLimits() Limits {
	l := DefaultLimits()
	l.Extracted = 128 << 20
	return l
}

// WithDefaults returns the limits with every zero field set to its default.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	l.Compressed = orDefault(l.Compressed, d.Compressed)
	l.Extracted = orDefault(l.Extracted, d.Extracted)
	l.File = orDefault(l.File, d.File)
	l.Entries = orDefault(l.Entries, d.Entries)
	l.HeaderBytes = orDefault(l.HeaderBytes, d.HeaderBytes)
	l.PathBytes = orDefault(l.PathBytes, d.PathBytes)
	l.Depth = orDefault(l.Depth, d.Depth)
	l.Ratio = orDefault(l.Ratio, d.Ratio)
	l.RatioFrom = orDefault(l.RatioFrom, d.RatioFrom)
	return l
}

func orDefault[T int | int64](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}
