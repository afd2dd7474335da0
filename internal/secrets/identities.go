// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
)

// Identities are the private keys that artifacts are decrypted with. They hide themselves from
// everything that prints them. The nil value holds none.
type Identities struct {
	all     []age.Identity
	sources []string
}

// ReadIdentities reads files with private keys: of age, one on each line, or of SSH.
func ReadIdentities(files []string) (*Identities, error) {
	out := &Identities{}
	for _, file := range files {
		raw, err := readKeys(file)
		if err != nil {
			var key *KeyError
			if errors.As(err, &key) {
				key.Hint = ""
			}
			return nil, err
		}
		if err := out.Add(file, raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Add adds the private keys that a file, or the value of a Secret's key, holds. The source names it in
// words.
func (i *Identities) Add(source string, content []byte) error {
	found, err := parseIdentities(content, source)
	if err != nil {
		return err
	}
	i.all = append(i.all, found...)
	i.sources = append(i.sources, source)
	return nil
}

// Empty says whether there are no keys.
func (i *Identities) Empty() bool { return i == nil || len(i.all) == 0 }

// Sources says where the keys come from, in words.
func (i *Identities) Sources() []string {
	if i == nil {
		return nil
	}
	return i.sources
}

// String hides the keys.
func (i *Identities) String() string { return "[hidden]" }

// GoString hides the keys.
func (i *Identities) GoString() string { return "[hidden]" }

// LogValue hides the keys.
func (i *Identities) LogValue() slog.Value { return slog.StringValue("[hidden]") }

func parseIdentities(content []byte, source string) ([]age.Identity, error) {
	bad := func(line int, reason, hint string) error {
		return &KeyError{Source: source, Line: line, Reason: reason, Hint: hint}
	}
	begins := func(s string) bool { return bytes.HasPrefix(bytes.TrimSpace(content), []byte(s)) }
	switch {
	case begins(armor.Header), begins("age-encryption.org/"):
		return nil, bad(0, "is itself encrypted", "decrypt it first: age --decrypt "+source)
	case begins("-----BEGIN"):
		one, reason := sshIdentity(content)
		if reason != "" {
			return nil, bad(0, reason, "give a private key of type ed25519 or rsa that no passphrase protects")
		}
		return []age.Identity{one}, nil
	}
	var out []age.Identity
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, reason := ageIdentity(line)
		if reason != "" {
			return nil, bad(number, reason, "an identity is a private key: AGE-SECRET-KEY-1…, or a whole SSH key")
		}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, bad(0, "holds no identities", "make one: age-keygen")
	}
	return out, nil
}

func ageIdentity(line string) (one age.Identity, reason string) {
	var err error
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		one, err = age.ParseX25519Identity(line)
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		one, err = age.ParseHybridIdentity(line)
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		return nil, "is an identity of an age plugin, which are not run"
	case isRecipient(line):
		return nil, "is a recipient, which can't decrypt"
	default:
		return nil, "is not an identity"
	}
	if err != nil {
		return nil, "is not a whole identity: it may have been cut or mistyped"
	}
	return one, ""
}

func sshIdentity(content []byte) (age.Identity, string) {
	one, err := agessh.ParseIdentity(content)
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return nil, "is protected by a passphrase"
	case err != nil:
		return nil, "is not an SSH key that age can decrypt with"
	default:
		return one, ""
	}
}

// Failure is why something can't be decrypted.
type Failure string

// The failures of a [DecryptError].
const (
	NoIdentity    Failure = "NoIdentity"    // no key was given
	WrongIdentity Failure = "WrongIdentity" // none of the keys is one that it was encrypted for
	Damaged       Failure = "Damaged"       // not what was encrypted, or not all of it
)

// DecryptError says why something can't be decrypted. Nothing of it may be used.
type DecryptError struct {
	Failure Failure
	Sources []string // of the keys that were tried
}

// Error says why, and which keys were tried.
func (e *DecryptError) Error() string {
	switch e.Failure {
	case NoIdentity:
		return "it is encrypted with age, and there is no identity to decrypt it with"
	case WrongIdentity:
		return "it is encrypted with age, and for none of the identities in " + strings.Join(e.Sources, ", ")
	default:
		return "it is encrypted with age, and was damaged or changed since"
	}
}

// maxHeader bounds what comes before the encrypted content. A recipient takes less than 3 KiB of it.
const maxHeader = 1 << 20

// Decrypt returns a reader of what src holds encrypted, in age's own form or as text. Reading ends with a
// [DecryptError] where src is not whole; only after io.EOF is what was read to be trusted.
func (i *Identities) Decrypt(src io.Reader) (*Plaintext, error) {
	if i.Empty() {
		return nil, &DecryptError{Failure: NoIdentity}
	}
	header := &headerLimit{r: src, left: maxHeader}
	buffered := bufio.NewReader(header)
	var in io.Reader = buffered
	if start, _ := buffered.Peek(len(armor.Header)); string(start) == armor.Header {
		in = armor.NewReader(buffered)
	}
	plain, err := age.Decrypt(in, i.all...)
	var nobody *age.NoIdentityMatchError
	switch {
	case header.failed != nil:
		return nil, header.failed
	case errors.As(err, &nobody):
		return nil, &DecryptError{Failure: WrongIdentity, Sources: i.sources}
	case err != nil:
		return nil, &DecryptError{Failure: Damaged}
	}
	header.left = -1
	return &Plaintext{plain: plain, from: header}, nil
}

// Plaintext is what comes out of decryption.
type Plaintext struct {
	plain  io.Reader
	from   *headerLimit
	failed error
}

// Read implements io.Reader.
func (p *Plaintext) Read(b []byte) (int, error) {
	n, err := p.plain.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		if err = p.from.failed; err == nil {
			err = &DecryptError{Failure: Damaged}
		}
		p.failed = err
	}
	return n, err
}

// Err returns why reading ended before the end, if it did: for those between whom and this reader
// somebody else has put the error into other words.
func (p *Plaintext) Err() error { return p.failed }

// headerLimit bounds what is read until the header was, and remembers what its reader failed with.
type headerLimit struct {
	r      io.Reader
	left   int // negative for no bound
	failed error
}

// Read implements io.Reader.
func (h *headerLimit) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if h.left > 0 {
		p = p[:min(len(p), h.left)]
	}
	n, err := h.r.Read(p)
	if h.left > 0 {
		h.left -= n
	}
	if err != nil && !errors.Is(err, io.EOF) {
		h.failed = err
	}
	return n, err
}

// reasonOf leaves out the path, which the message has already.
func reasonOf(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}
