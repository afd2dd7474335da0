// SPDX-License-Identifier: Apache-2.0

// Package secrets encrypts and decrypts the content of artifacts with age, with keys that it is given,
// and finds what SOPS has encrypted. It knows neither a registry nor a cluster.
//
// Whatever is wrong with a key is told without the key: errors name the file and the line.
package secrets

import (
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// maxKeyFile bounds a file of keys.
const maxKeyFile = 1 << 20

// KeyError says that a file, or what was given in place of one, holds no key that can be used.
type KeyError struct {
	Source string // a file, or where else the key comes from
	Line   int    // counted from 1; 0 for the whole
	Reason string
	Hint   string
}

// Error names the place and the reason, and nothing of what is there.
func (e *KeyError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Reason)
	}
	return e.Source + ": " + e.Reason
}

// Recipients are the public keys that an artifact is encrypted for: whoever has the private key of any
// of them can decrypt it.
type Recipients struct{ all []age.Recipient }

// ReadRecipients reads public keys, each given as it is (age1…, ssh-ed25519 …, ssh-rsa …) or as the name
// of a file that has one on each line. Lines that begin with # are comments.
func ReadRecipients(given []string) (*Recipients, error) {
	out := &Recipients{}
	for i, one := range given {
		content, source := one, fmt.Sprintf("recipient number %d", i+1)
		if !isRecipient(one) {
			raw, err := readKeys(one)
			if err != nil {
				return nil, err
			}
			content, source = string(raw), one
		}
		found, err := parseRecipients(content, source)
		if err != nil {
			return nil, err
		}
		out.all = append(out.all, found...)
	}
	if len(out.all) == 0 {
		return nil, &KeyError{Source: "recipients", Reason: "none were given"}
	}
	return out, out.try()
}

// isRecipient tells a public key from the name of a file.
func isRecipient(s string) bool {
	return strings.HasPrefix(s, "age1") && !strings.ContainsAny(s, `./\`) || strings.HasPrefix(s, "ssh-") && strings.Contains(s, " ")
}

func parseRecipients(content, source string) ([]age.Recipient, error) {
	var out []age.Recipient
	number := 0
	for line := range strings.Lines(content) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, reason := parseRecipient(line)
		if reason != "" {
			return nil, &KeyError{Source: source, Line: number, Reason: reason, Hint: "a recipient is a public key: age1…, ssh-ed25519 … or ssh-rsa …"}
		}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, &KeyError{Source: source, Reason: "holds no recipients", Hint: "put one public key on each line"}
	}
	return out, nil
}

// parseRecipient reads one public key, or says why it can't be used. What it does not recognise it does
// not show: it may be a private key.
func parseRecipient(line string) (one age.Recipient, reason string) {
	var err error
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-"), strings.HasPrefix(line, "-----BEGIN"), strings.HasPrefix(line, "AGE-PLUGIN-"):
		return nil, "is a private key, not a recipient"
	case strings.HasPrefix(line, "age1pq1"):
		one, err = age.ParseHybridRecipient(line)
	case strings.HasPrefix(line, "age1") && strings.LastIndex(line, "1") > len("age1"):
		return nil, "is a recipient of an age plugin, which are not run"
	case strings.HasPrefix(line, "age1"):
		one, err = age.ParseX25519Recipient(line)
	case strings.HasPrefix(line, "ssh-ed25519 "), strings.HasPrefix(line, "ssh-rsa "):
		one, err = agessh.ParseRecipient(line)
	case strings.HasPrefix(line, "ssh-"), strings.HasPrefix(line, "ecdsa-"), strings.HasPrefix(line, "sk-"):
		return nil, "is a kind of SSH key that age can't encrypt for: it knows ssh-ed25519 and ssh-rsa"
	default:
		return nil, "is not a recipient"
	}
	if err != nil {
		return nil, "is not a whole recipient: it may have been cut or mistyped"
	}
	return one, ""
}

// try encrypts nothing, to see that the recipients go together.
func (r *Recipients) try() error {
	if _, err := age.Encrypt(io.Discard, r.all...); err != nil {
		return &KeyError{Source: "recipients", Reason: "can't be used together: " + err.Error()}
	}
	return nil
}

// Encrypt returns a writer whose input goes to dst encrypted. It must be closed.
func (r *Recipients) Encrypt(dst io.Writer) (io.WriteCloser, error) {
	w, err := age.Encrypt(dst, r.all...)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return w, nil
}

// readKeys reads a file of keys. It may be a pipe.
func readKeys(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &KeyError{Source: name, Reason: "can't be read: " + reasonOf(err), Hint: "give a file, or a recipient: age1…, ssh-ed25519 … or ssh-rsa …"}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, &KeyError{Source: name, Reason: "can't be read: " + reasonOf(err)}
	case len(raw) > maxKeyFile:
		return nil, &KeyError{Source: name, Reason: "is too large to be a file of keys"}
	}
	return raw, nil
}
