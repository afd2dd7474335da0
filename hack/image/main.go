// SPDX-License-Identifier: Apache-2.0

// Command image builds kustomizer's container image without a container engine: it cross-compiles
// the binary, lays it on an empty base with CA roots and a user, and pushes the result to a
// registry or writes it as an OCI layout. The same commit gives the same digest on any machine.
//
//	go run ./hack/image --push ghcr.io/kustomizer/kustomizer:1.0.0
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "✗", err)
		os.Exit(1)
	}
}

// A request is what the flags ask for.
type request struct {
	pkg       string // package of the binary
	version   string
	revision  string // commit, for the image's labels
	platforms []*v1.Platform
	output    string         // directory of an OCI layout, or empty
	push      name.Reference // where to push to, or nil
	created   time.Time
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	req, err := parse(ctx, args, stderr)
	if err != nil {
		return err
	}
	images := make([]platformImage, 0, len(req.platforms))
	for _, platform := range req.platforms {
		fmt.Fprintf(stderr, "compiling for %s\n", platform)
		binary, err := compile(ctx, req, platform)
		if err != nil {
			return err
		}
		img, err := newImage(binary, platform, req)
		if err != nil {
			return fmt.Errorf("building the image for %s: %w", platform, err)
		}
		images = append(images, platformImage{platform: platform, image: img})
	}
	index := newIndex(images)
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("building the index: %w", err)
	}
	return req.publish(ctx, index, digest, stdout, stderr)
}

// publish stores the index where the request says, and prints under which name it is found.
func (r request) publish(ctx context.Context, index v1.ImageIndex, digest v1.Hash, stdout, stderr io.Writer) error {
	if r.output != "" {
		if err := writeLayout(r.output, index); err != nil {
			return fmt.Errorf("writing the image to %s: %w", r.output, err)
		}
	}
	if r.push == nil {
		_, err := fmt.Fprintln(stdout, digest)
		return err
	}
	fmt.Fprintf(stderr, "pushing %s\n", r.push)
	if err := push(ctx, r.push, index); err != nil {
		return fmt.Errorf("pushing %s: %w", r.push, err)
	}
	_, err := fmt.Fprintln(stdout, r.push.Context().Digest(digest.String()))
	return err
}

func parse(ctx context.Context, args []string, stderr io.Writer) (request, error) {
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(stderr)
	req := request{}
	fs.StringVar(&req.pkg, "package", "./cmd/kustomizer", "`package` of the binary")
	fs.StringVar(&req.version, "version", "", "`version` compiled in; default: git describe")
	fs.StringVar(&req.revision, "revision", "", "`commit` named in the image's labels; default: git's HEAD")
	fs.StringVar(&req.output, "output", "", "write the image as an OCI layout to this `directory`")
	ref := fs.String("push", "", "push the image to this `reference`, with the Docker config's credentials")
	insecure := fs.Bool("insecure", false, "push over plain HTTP; loopback registries need no flag")
	platforms := fs.String("platform", "linux/amd64,linux/arm64", "`list` of platforms")
	if err := fs.Parse(args); err != nil {
		return request{}, err
	}
	if fs.NArg() > 0 {
		return request{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *ref == "" && req.output == "" {
		return request{}, errors.New("nothing to do: give --push REFERENCE or --output DIRECTORY")
	}
	if err := req.setPush(*ref, *insecure); err != nil {
		return request{}, err
	}
	if err := req.setPlatforms(*platforms); err != nil {
		return request{}, err
	}
	return req, req.setOrigin(ctx)
}

func (r *request) setPush(ref string, insecure bool) (err error) {
	if ref == "" {
		return nil
	}
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	r.push, err = name.ParseReference(ref, opts...)
	return err
}

func (r *request) setPlatforms(list string) error {
	for field := range strings.SplitSeq(list, ",") {
		platform, err := v1.ParsePlatform(strings.TrimSpace(field))
		if err != nil {
			return fmt.Errorf("platform %q: %w", field, err)
		}
		if platform.OS == "" || platform.Architecture == "" {
			return fmt.Errorf("platform %q: want OS/ARCHITECTURE", field)
		}
		r.platforms = append(r.platforms, platform)
	}
	return nil
}

// setOrigin fills in which source the image is built from, and when: SOURCE_DATE_EPOCH, or else the
// beginning of time, so that no clock gets into the digest.
func (r *request) setOrigin(ctx context.Context) error {
	if r.version == "" {
		r.version = describe(ctx)
	}
	if r.revision == "" {
		r.revision = head(ctx)
	}
	r.created = time.Unix(0, 0).UTC()
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.created = time.Unix(seconds, 0).UTC()
	return nil
}
