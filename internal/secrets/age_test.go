// SPDX-License-Identifier: Apache-2.0

package secrets_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"github.com/kustomizer/kustomizer/internal/secrets"
)

// pair is a key in both of its forms.
type pair struct{ recipient, identity string }

func x25519(t *testing.T) pair {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{key.Recipient().String(), key.String() + "\n"}
}

func hybrid(t *testing.T) pair {
	t.Helper()
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{key.Recipient().String(), key.String() + "\n"}
}

// sshPair makes a pair of a private key; with a passphrase it is protected by that.
func sshPair(t *testing.T, public, private any, passphrase string) pair {
	t.Helper()
	recipient, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(recipient))) + " me@example.com", string(pem.EncodeToMemory(block))}
}

func sshEd25519(t *testing.T, passphrase string) pair {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sshPair(t, public, private, passphrase)
}

func sshRSA(t *testing.T) pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return sshPair(t, &key.PublicKey, key, "")
}

func sshECDSA(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sshPair(t, &key.PublicKey, key, "")
}

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func encrypt(t *testing.T, content []byte, recipients ...string) []byte {
	t.Helper()
	to, err := secrets.ReadRecipients(recipients)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := to.Encrypt(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func identities(t *testing.T, keys ...pair) *secrets.Identities {
	t.Helper()
	var files []string
	for _, key := range keys {
		files = append(files, write(t, key.identity))
	}
	out, err := secrets.ReadIdentities(files)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func decrypt(keys *secrets.Identities, content []byte) ([]byte, error) {
	plain, err := keys.Decrypt(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

func TestEveryRecipientCanDecrypt(t *testing.T) {
	t.Parallel()
	one, two, three := x25519(t), sshEd25519(t, ""), sshRSA(t)
	file := write(t, "# the team\n\n"+two.recipient+"\r\n"+three.recipient+"\n")
	content := []byte("kind: Secret\n")
	sealed := encrypt(t, content, one.recipient, file)
	if !bytes.HasPrefix(sealed, []byte("age-encryption.org/v1\n")) || bytes.Contains(sealed, []byte("Secret")) {
		t.Fatalf("not encrypted with age: %q", sealed)
	}
	for name, key := range map[string]pair{"age": one, "SSH, ed25519": two, "SSH, RSA": three} {
		got, err := decrypt(identities(t, x25519(t), key), sealed)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	pq := hybrid(t)
	if got, err := decrypt(identities(t, pq), encrypt(t, content, pq.recipient)); err != nil || !bytes.Equal(got, content) {
		t.Errorf("hybrid: got %q, %v", got, err)
	}
}

func TestTextFormIsDecrypted(t *testing.T) {
	t.Parallel()
	key := x25519(t)
	var text bytes.Buffer
	w := armor.NewWriter(&text)
	if _, err := w.Write(encrypt(t, []byte("x"), key.recipient)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := decrypt(identities(t, key), text.Bytes()); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWhatCanNotBeDecryptedSaysWhy(t *testing.T) {
	t.Parallel()
	key := x25519(t)
	sealed := encrypt(t, bytes.Repeat([]byte("x"), 200<<10), key.recipient)
	changed := bytes.Clone(sealed)
	changed[len(changed)/2] ^= 1
	header := bytes.Clone(sealed)
	header[bytes.Index(header, []byte("\n--- "))+10] ^= 1
	for name, c := range map[string]struct {
		keys   *secrets.Identities
		sealed []byte
		want   secrets.Failure
	}{
		"no key":                {nil, sealed, secrets.NoIdentity},
		"another key":           {identities(t, x25519(t), sshEd25519(t, "")), sealed, secrets.WrongIdentity},
		"a changed byte":        {identities(t, key), changed, secrets.Damaged},
		"a changed header":      {identities(t, key), header, secrets.Damaged},
		"cut within a chunk":    {identities(t, key), sealed[:len(sealed)-10], secrets.Damaged},
		"cut between chunks":    {identities(t, key), sealed[:len(sealed)-(200<<10)%(64<<10)-16], secrets.Damaged},
		"cut in the header":     {identities(t, key), sealed[:40], secrets.Damaged},
		"more after the end":    {identities(t, key), append(bytes.Clone(sealed), 'x'), secrets.Damaged},
		"a header without end":  {identities(t, key), append([]byte("age-encryption.org/v1\n-> X25519 "), bytes.Repeat([]byte("a"), 2<<20)...), secrets.Damaged},
		"something else":        {identities(t, key), []byte("kind: Secret\n"), secrets.Damaged},
		"nothing":               {identities(t, key), nil, secrets.Damaged},
		"for a passphrase only": {identities(t, key), passphrase(t), secrets.WrongIdentity},
	} {
		_, err := decrypt(c.keys, c.sealed)
		var failed *secrets.DecryptError
		if !errors.As(err, &failed) || failed.Failure != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func passphrase(t *testing.T) []byte {
	t.Helper()
	to, err := age.NewScryptRecipient("x")
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(1)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A reader that fails is not content that was changed.
func TestAFailingReaderIsNotDamage(t *testing.T) {
	t.Parallel()
	key := x25519(t)
	sealed := encrypt(t, bytes.Repeat([]byte("x"), 200<<10), key.recipient)
	broken := errors.New("the disk is gone")
	for _, at := range []int{50, 100 << 10} {
		plain, err := identities(t, key).Decrypt(io.MultiReader(bytes.NewReader(sealed[:at]), failing{broken}))
		if err == nil {
			if _, err = io.Copy(io.Discard, plain); !errors.Is(plain.Err(), broken) {
				t.Errorf("after %d bytes it remembers %v", at, plain.Err())
			}
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v", at, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestKeysThatCanNotBeUsedAreNamedAndNotShown(t *testing.T) {
	t.Parallel()
	key, protected, ecdsa := x25519(t), sshEd25519(t, "canary"), sshECDSA(t)
	cut := key.identity[:len(key.identity)-5]
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		recipients, identities string
		want                   string
	}{
		"recipients: no such file":          {recipients: missing, want: missing + ": can't be read: no such file or directory"},
		"recipients: an empty file":         {recipients: write(t, "# none\n"), want: "holds no recipients"},
		"recipients: a private key":         {recipients: write(t, "# mine\n"+key.identity), want: ":2: is a private key, not a recipient"},
		"recipients: a private SSH key":     {recipients: write(t, sshEd25519(t, "").identity), want: ":1: is a private key, not a recipient"},
		"recipients: cut":                   {recipients: key.recipient[:40], want: "recipient number 1:1: is not a whole recipient"},
		"recipients: a plugin's":            {recipients: write(t, "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t\n"), want: "is a recipient of an age plugin"},
		"recipients: ECDSA":                 {recipients: write(t, ecdsa.recipient), want: "is a kind of SSH key that age can't encrypt for"},
		"recipients: text":                  {recipients: write(t, "hunter2\n"), want: ":1: is not a recipient"},
		"recipients: too much":              {recipients: write(t, strings.Repeat("#\n", 1<<20)), want: "is too large to be a file of keys"},
		"recipients: a directory":           {recipients: t.TempDir(), want: "can't be read"},
		"recipients: that don't go":         {recipients: write(t, key.recipient+"\n"+hybrid(t).recipient), want: "can't be used together"},
		"identities: no such file":          {identities: missing, want: missing + ": can't be read: no such file or directory"},
		"identities: an empty file":         {identities: write(t, "\n"), want: "holds no identities"},
		"identities: cut":                   {identities: write(t, "\n"+cut), want: ":2: is not a whole identity"},
		"identities: a recipient":           {identities: write(t, key.recipient), want: ":1: is a recipient, which can't decrypt"},
		"identities: text":                  {identities: write(t, "hunter2\n"), want: ":1: is not an identity"},
		"identities: a plugin's":            {identities: write(t, "AGE-PLUGIN-YUBIKEY-1QQQQQQ\n"), want: "is an identity of an age plugin"},
		"identities: encrypted":             {identities: write(t, string(encrypt(t, []byte("x"), key.recipient))), want: "is itself encrypted"},
		"identities: SSH with a passphrase": {identities: write(t, protected.identity), want: "is protected by a passphrase"},
		"identities: ECDSA":                 {identities: write(t, ecdsa.identity), want: "is not an SSH key that age can decrypt with"},
	} {
		var err error
		if c.recipients != "" {
			_, err = secrets.ReadRecipients([]string{c.recipients})
		} else {
			_, err = secrets.ReadIdentities([]string{c.identities})
		}
		var bad *secrets.KeyError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
			continue
		}
		for _, secret := range []string{"AGE-SECRET-KEY-1", "hunter2", "canary", "QQQQQQ", "PRIVATE KEY"} {
			if strings.Contains(err.Error()+bad.Hint, secret) && !strings.Contains(bad.Hint, "AGE-SECRET-KEY-1…") {
				t.Errorf("%s: the error shows %s: %v (%s)", name, secret, err, bad.Hint)
			}
		}
	}
	if _, err := secrets.ReadRecipients(nil); err == nil {
		t.Error("no recipients are accepted")
	}
}

func TestIdentitiesHideThemselves(t *testing.T) {
	t.Parallel()
	key := x25519(t)
	keys := identities(t, key)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", keys)
	shown := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, log.String())
	if strings.Contains(shown, strings.TrimSpace(key.identity)) || !strings.Contains(shown, "[hidden]") {
		t.Errorf("shown: %s", shown)
	}
	if sources := keys.Sources(); len(sources) != 1 || !slices.ContainsFunc(sources, filepath.IsAbs) {
		t.Errorf("sources are %v", sources)
	}
}
