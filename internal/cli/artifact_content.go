// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// stdinTreeFile is the file that holds what --path=- reads.
const stdinTreeFile = "manifests.yaml"

// contentFlags is the group of flags that say what an artifact is made of, or compared with.
type contentFlags struct {
	kustomize            string
	filenames, patches   []string
	recursive            bool
	path                 string
	ignore, ignoreMore   []string
	resolveLinks, isFlux bool
}

// AddFlags adds the group to a command. As flux, -f is --path; -f means manifests everywhere else.
func (f *contentFlags) AddFlags(a *app, fs *pflag.FlagSet) {
	short, pathShort := "f", ""
	if f.isFlux = a.program.command() == "flux"; f.isFlux {
		short, pathShort = "", "f"
	}
	fs.StringVarP(&f.kustomize, "kustomize", "k", "", "directory with a kustomization.yaml")
	fs.StringSliceVarP(&f.filenames, "filename", short, nil, "files and directories of manifests, - for the standard input")
	fs.BoolVarP(&f.recursive, "recursive", "R", true, "read directories of manifests with all below them")
	fs.StringSliceVarP(&f.patches, "patch", "p", nil, "files in the form of a kustomization with patches, which are built over the manifests one after another")
	fs.StringVarP(&f.path, "path", pathShort, "", "directory or file that is taken as it is, - for the standard input")
	fs.StringSliceVar(&f.ignore, "ignore-paths", defaultIgnored(), "what of --path to leave out, in the form of .gitignore")
	fs.StringSliceVar(&f.ignoreMore, "add-ignore-paths", nil, "what of --path to leave out as well")
	fs.BoolVar(&f.resolveLinks, "resolve-symlinks", false, "take what symbolic links within --path point to")
}

// check says whether the flags make sense together. Where they are required, something must be given.
func (f *contentFlags) check(cmd *cobra.Command, required bool) error {
	rendered := f.kustomize != "" || len(f.filenames) > 0
	switch {
	case f.path != "" && (rendered || len(f.patches) > 0):
		return usagef(cmd, "--path takes files as they are: it can't be given with --kustomize, --filename or --patch")
	case f.path == "" && !rendered && len(f.patches) > 0:
		return usagef(cmd, "--patch needs manifests: give --kustomize or --filename")
	case f.path == "" && !rendered && required:
		return usagef(cmd, "%s needs one of --kustomize, --filename, --path", cmd.CommandPath())
	case f.path == "" && (f.resolveLinks || cmd.Flags().Changed("ignore-paths") || len(f.ignoreMore) > 0):
		return usagef(cmd, "--ignore-paths, --add-ignore-paths and --resolve-symlinks are for --path")
	default:
		return nil
	}
}

// given says whether there is any content.
func (f *contentFlags) given() bool {
	return f.path != "" || f.kustomize != "" || len(f.filenames) > 0
}

// place returns where the content lies.
func (f *contentFlags) place() string {
	return placeOf(append([]string{f.path, f.kustomize}, f.filenames...)...)
}

// objects builds the manifests.
func (f *contentFlags) objects(ctx context.Context, a *app) ([]*unstructured.Unstructured, error) {
	files, err := f.files()
	if err != nil {
		return nil, err
	}
	got, err := deploy.Collect(ctx, deploy.Sources{
		Kustomize: f.kustomize, Files: files, Patches: f.patches, Stdin: a.streams.In,
	})
	return got.Objects, err
}

// files returns the files to read, directories taken apart where what is below them is not wanted.
func (f *contentFlags) files() ([]string, error) {
	if f.recursive {
		return f.filenames, nil
	}
	var out []string
	for _, name := range f.filenames {
		if name == "-" || !isDirectory(name) {
			out = append(out, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("reading files: %w", err)
		}
		for _, entry := range entries {
			if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
				out = append(out, filepath.Join(name, entry.Name()))
			}
		}
	}
	return out, nil
}

// tree returns the files that are taken as they are, and what to do when they are no longer needed.
func (f *contentFlags) tree(a *app) (*artifact.Tree, func(), error) {
	nothing := func() {}
	if f.path == "-" {
		return f.stdinTree(a.streams.In)
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, nothing, fmt.Errorf("reading what to publish: %w", err)
	}
	if !info.IsDir() {
		return &artifact.Tree{Dir: filepath.Dir(f.path), Only: filepath.Base(f.path), ResolveSymlinks: f.resolveLinks}, nothing, nil
	}
	return &artifact.Tree{
		Dir: f.path, ResolveSymlinks: f.resolveLinks,
		Ignored: newIgnorer(f.path, append(append([]string{}, f.ignore...), f.ignoreMore...)).Ignored,
	}, nothing, nil
}

// stdinTree keeps the standard input in a file.
func (f *contentFlags) stdinTree(in io.Reader) (*artifact.Tree, func(), error) {
	dir, err := os.MkdirTemp("", "kustomizer-stdin-")
	if err != nil {
		return nil, func() {}, fmt.Errorf("keeping the standard input: %w", err)
	}
	remove := func() { _ = os.RemoveAll(dir) }
	file, err := os.OpenFile(filepath.Join(dir, stdinTreeFile), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err == nil {
		_, err = io.Copy(file, io.LimitReader(in, artifact.DefaultLimits().File+1))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		remove()
		return nil, func() {}, fmt.Errorf("keeping the standard input: %w", err)
	}
	return &artifact.Tree{Dir: dir, Only: stdinTreeFile}, remove, nil
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// imageClient makes a client for the registries of images: the credentials of the flags are for one host,
// those of all others come from where they always do.
func (f *registryFlags) imageClient(a *app, host string) (*registry.Client, error) {
	if !f.chosen() {
		return f.client(a, host)
	}
	given, err := f.credentials(a, host)
	if err != nil {
		return nil, err
	}
	both := perHost{host: host, own: given, others: a.docker()}
	return f.connect(a, both)
}

// perHost has credentials for one host from one place, and for all others from another.
type perHost struct {
	host        string
	own, others registry.Credentials
}

// Lookup implements registry.Credentials.
func (p perHost) Lookup(ctx context.Context, repo artifact.Repository) (registry.Credential, error) {
	if repo.Host() == p.host {
		return p.own.Lookup(ctx, repo)
	}
	return p.others.Lookup(ctx, repo)
}

// Sources implements registry.Credentials.
func (p perHost) Sources() []string { return append(p.own.Sources(), p.others.Sources()...) }
