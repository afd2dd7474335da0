// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
)

// maxBinary bounds what is read from an image's layer.
const maxBinary = 1 << 30

// remoteOptions speak to the registries without any of the product's code, as the owner.
func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword})}
}

// repository is the demo app's, in the private registry.
func (s *story) repository() string { return s.sandbox.PrivateRegistry + "/kustomizer-demo-app" }

func (s *story) appURL(tag string) string { return "oci://" + s.repository() + ":" + tag }

// digest asks the registry which digest a tag of the demo app has.
func (s *story) digest(ctx context.Context, tag string) (string, error) {
	ref, err := name.ParseReference(s.repository() + ":" + tag)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(ref, remoteOptions(ctx)...)
	if err != nil {
		return "", fmt.Errorf("asking the registry for the tag %s: %w", tag, err)
	}
	return d.Digest.String(), nil
}

// annotations reads a version's annotations from the registry.
func (s *story) annotations(ctx context.Context, tag string) (map[string]string, error) {
	ref, err := name.ParseReference(s.repository() + ":" + tag)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, remoteOptions(ctx)...)
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	return manifest.Annotations, nil
}

// moveTag moves a tag of the demo app behind everybody's back.
func (s *story) moveTag(ctx context.Context, from, to string) error {
	ref, err := name.ParseReference(s.repository() + ":" + from)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remoteOptions(ctx)...)
	if err != nil {
		return err
	}
	return remote.Tag(ref.Context().Tag(to), img, remoteOptions(ctx)...)
}

// pushRaw publishes a text as all.yaml, the way any tool can that knows nothing of Kubernetes.
func (s *story) pushRaw(ctx context.Context, tag, text string) error {
	layer, err := tarOf("all.yaml", text)
	if err != nil {
		return err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json"), "application/vnd.cncf.flux.config.v1+json")
	if img, err = mutate.AppendLayers(img, static.NewLayer(layer, "application/vnd.oci.image.layer.v1.tar+gzip")); err != nil {
		return err
	}
	ref, err := name.ParseReference(s.repository() + ":" + tag)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remoteOptions(ctx)...)
}

func tarOf(file, text string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// allYAML reads what a version of the demo app holds.
func (s *story) allYAML(ctx context.Context, tag string) (string, error) {
	ref, err := name.ParseReference(s.repository() + ":" + tag)
	if err != nil {
		return "", err
	}
	img, err := remote.Image(ref, remoteOptions(ctx)...)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = findInImage(img, "all.yaml", func(r io.Reader) error {
		_, err := io.Copy(&text, io.LimitReader(r, 1<<20))
		return err
	})
	return text.String(), err
}

// agentImage reads the agent's image for this machine from the registry.
func (s *story) agentImage(ctx context.Context, ref string) (v1.Image, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	return remote.Image(parsed, append(remoteOptions(ctx), remote.WithPlatform(platform()))...)
}

// extractBinary writes the program of an image's layer to a file.
func (s *story) extractBinary(ctx context.Context, ref, to string) error {
	img, err := s.agentImage(ctx, ref)
	if err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return findInImage(img, "usr/local/bin/kustomizer", func(r io.Reader) error {
		file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, io.LimitReader(r, maxBinary))
		return errors.Join(err, file.Close())
	})
}

// findInImage reads one file of an image's only layer.
func findInImage(img v1.Image, path string, read func(io.Reader) error) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if err := expect("the image's number of layers", 1, len(layers)); err != nil {
		return err
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return &unmet{want: path + " in the layer", got: "no such file"}
		}
		if err != nil {
			return err
		}
		if header.Name == path {
			return read(archive)
		}
	}
}

// admits asks a registry whether it lets a user read the demo app's tags.
func (s *story) admits(ctx context.Context, user, password string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.sandbox.PrivateRegistry+"/v2/", nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return expect("the registry's answer to these credentials", http.StatusOK, resp.StatusCode)
}

// dockerConfig is Docker's configuration, in a file or in a Secret.
type dockerConfig struct {
	Auths map[string]struct {
		Auth     []byte `json:"auth"` // user:password; JSON has it in base64
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auths"`
}

// credentials reads the private registry's user and password from a Docker configuration.
func (s *story) credentials(data []byte) (user, password string, err error) {
	var config dockerConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return "", "", err
	}
	entry, ok := config.Auths[s.sandbox.PrivateRegistry]
	if !ok {
		return "", "", &unmet{want: "credentials for " + s.sandbox.PrivateRegistry, got: "none"}
	}
	if user, password, ok = strings.Cut(string(entry.Auth), ":"); !ok {
		return entry.Username, entry.Password, nil
	}
	return user, password, nil
}

func (s *story) dockerFile() string { return filepath.Join(s.path("docker"), "config.json") }
