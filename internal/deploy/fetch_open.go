// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/secrets"
	"github.com/kustomizer/kustomizer/internal/store"
)

// ageExtension ends the name of the only file of an artifact that Kustomizer 2 encrypted.
const ageExtension = ".age"

// encryptedName is that file's name.
const encryptedName = "all.yaml" + ageExtension

// Keys finds the private keys for an artifact that is encrypted. It is called only for one that is. Nil
// for none.
type Keys func(ctx context.Context) (*secrets.Identities, error)

func (k Keys) decrypt(ctx context.Context, in io.Reader) (*secrets.Plaintext, error) {
	if k == nil {
		return nil, &secrets.DecryptError{Failure: secrets.NoIdentity}
	}
	identities, err := k(ctx)
	if err != nil {
		return nil, err
	}
	return identities.Decrypt(in)
}

// opened is the files of an artifact.
type opened struct {
	files    fs.FS
	checksum string // SHA-256 of the layer's tar; empty where the tar holds what is encrypted
	private  bool   // the files were decrypted, and are in memory only
	close    func()
}

// openFiles unpacks a stored layer: into dir, which must be empty or not exist, or, where it has to be
// decrypted, into memory, so that what is secret never lies on a disk. What can't be decrypted is an
// error: taken for a tree it would look like one from which everything had been removed.
func openFiles(ctx context.Context, st *store.Store, layer artifact.Descriptor, keys Keys, dir string) (opened, error) {
	stored := artifact.Blob{Descriptor: layer, Open: func() (io.ReadCloser, error) { return st.Open(ctx, layer.Digest) }}
	return openBlob(ctx, stored, keys, dir)
}

// openBlob is openFiles for a layer that is anywhere.
func openBlob(ctx context.Context, layer artifact.Blob, keys Keys, dir string) (opened, error) {
	blob, err := layer.Open()
	if err != nil {
		return opened{}, err
	}
	defer blob.Close()
	if artifact.IsEncrypted(layer.MediaType) {
		return openEncrypted(ctx, blob, layer.MediaType, keys)
	}
	got, err := artifact.Extract(ctx, blob, layer.MediaType, dir, artifact.DefaultLimits())
	if err != nil {
		return opened{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return opened{}, fmt.Errorf("opening the artifact's files: %w", err)
	}
	name, err := encryptedFile(root.FS())
	if err == nil && name != "" {
		defer root.Close()
		return openEncryptedFile(ctx, root, name, keys)
	}
	if err != nil {
		return opened{}, errors.Join(err, root.Close())
	}
	return opened{files: root.FS(), checksum: got.Checksum, close: func() { _ = root.Close() }}, nil
}

// openEncrypted decrypts and unpacks a layer whose bytes are age's.
func openEncrypted(ctx context.Context, blob io.Reader, mediaType string, keys Keys) (opened, error) {
	plain, err := keys.decrypt(ctx, blob)
	if err != nil {
		return opened{}, err
	}
	files, got, err := artifact.Load(ctx, plain, artifact.ContentType(mediaType), artifact.EncryptedLimits())
	switch {
	case plain.Err() != nil:
		return opened{}, plain.Err()
	case err != nil:
		return opened{}, err
	}
	return opened{files: files, checksum: got.Checksum, private: true, close: func() {}}, nil
}

// openEncryptedFile decrypts the file that is all that Kustomizer 2 puts into an encrypted artifact.
func openEncryptedFile(ctx context.Context, root *os.Root, name string, keys Keys) (opened, error) {
	f, err := root.Open(name)
	if err != nil {
		return opened{}, fmt.Errorf("reading %s of the artifact: %w", name, err)
	}
	defer f.Close()
	plain, err := keys.decrypt(ctx, f)
	if err != nil {
		return opened{}, err
	}
	limit := artifact.EncryptedLimits().File
	content, err := io.ReadAll(io.LimitReader(plain, limit+1))
	switch {
	case err != nil:
		return opened{}, err
	case int64(len(content)) > limit:
		detail := fmt.Sprintf("decrypted it has more than %d bytes", limit)
		return opened{}, &artifact.RefusedError{Reason: artifact.FileTooLarge, Entry: name, Detail: detail}
	}
	files := artifact.NewFiles(map[string][]byte{name[:len(name)-len(ageExtension)]: content})
	return opened{files: files, private: true, close: func() {}}, nil
}

// encryptedFile returns the name of the file that has to be decrypted, if it is the only one. Kustomizer's
// own among others is refused: without it something would be missing.
func encryptedFile(tree fs.FS) (string, error) {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return "", fmt.Errorf("reading the artifact's files: %w", err)
	}
	if len(entries) == 1 && !entries[0].IsDir() && path.Ext(entries[0].Name()) == ageExtension {
		return entries[0].Name(), nil
	}
	if _, err := fs.Stat(tree, encryptedName); err == nil {
		return "", &artifact.RefusedError{Reason: artifact.Encrypted, Entry: encryptedName, Detail: "it is among other files"}
	}
	return "", nil
}

// OpenTree unpacks a stored layer that is not encrypted into an empty directory.
func OpenTree(ctx context.Context, st *store.Store, layer artifact.Descriptor, dir string) error {
	got, err := openFiles(ctx, st, layer, nil, dir)
	if err == nil {
		got.close()
	}
	return err
}

// tryUnpacking unpacks a layer on trial. One that is encrypted is looked at only as far as that goes
// without a key: it must be what it says it is.
func tryUnpacking(ctx context.Context, req FetchRequest, got Fetched) error {
	dir, err := os.MkdirTemp(req.WorkDir, "trial-")
	if err != nil {
		return fmt.Errorf("making room to unpack %s: %w", got.Pinned, err)
	}
	defer os.RemoveAll(dir)
	if err := tryOpening(ctx, req.Store, got, filepath.Join(dir, "tree")); err != nil {
		return fmt.Errorf("unpacking %s: %w", got.Pinned, err)
	}
	return nil
}

func tryOpening(ctx context.Context, st *store.Store, got Fetched, dir string) error {
	if artifact.IsEncrypted(got.Layer.MediaType) {
		blob, err := st.Open(ctx, got.Layer.Digest)
		if err != nil {
			return err
		}
		defer blob.Close()
		return artifact.CheckEncrypted(blob, got.Layer.MediaType)
	}
	err := OpenTree(ctx, st, got.Layer, dir)
	var sealed *secrets.DecryptError
	switch {
	case errors.As(err, &sealed) && sealed.Failure == secrets.NoIdentity:
		return nil
	case err == nil && got.Annotations[artifact.AnnotationEncrypted] != "":
		return &artifact.RefusedError{Reason: artifact.Encrypted, Detail: "the annotation says that the content is encrypted, and it is not"}
	default:
		return err
	}
}
