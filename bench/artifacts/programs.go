// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// program is one of those that are compared, with the commands that it pushes and pulls with. In
// them $REF is the repository with a tag, $DIR the tree, or where it is to go.
type program struct {
	name       string
	push, pull string
	// under is where below $DIR the tree is after a pull.
	under string
}

// own is the program that this project makes; it comes first.
const own = "kustomizer"

// programs lists them. crane packs no directories: tar does, beside it. Each is run by a shell, so
// that none has an advantage.
func programs() []program {
	return []program{
		{name: own, push: "kustomizer push artifact oci://$REF --path=$DIR --source=bench --revision=bench", pull: "kustomizer pull artifact oci://$REF -o $DIR"},
		{name: "oras", push: "cd $DIR && oras push --plain-http $REF .", pull: "oras pull --plain-http $REF -o $DIR"},
		{name: "crane", push: "tar -C $DIR -cf - . | crane append --insecure -f - -t $REF", pull: "mkdir -p $DIR && crane export --insecure $REF - | tar -C $DIR -xf -"},
		{name: "flux", push: "flux push $REF $DIR", pull: "flux pull $REF $DIR"},
	}
}

// copyPrograms copies the programs and has the copies measured. The system holds a file in memory in pieces as
// large as it was written in. The linker writes small ones, and where they come to lie is a matter of luck: from
// them a program starts slower, the larger it is the more so, and one day half as slow again as on another.
func (b *bench) copyPrograms() error {
	to := filepath.Join(b.dir, "bin")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, p := range programs() {
		if err := copyFile(filepath.Join(b.programs, p.name), filepath.Join(to, p.name)); err != nil {
			return err
		}
	}
	b.programs = to
	return nil
}

// copyFile copies a program in large pieces, and holds no more of it: what this process takes when it starts
// another counts as taken by that.
func copyFile(from, to string) error {
	const piece = 4 << 20
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // it is to be run
	if err != nil {
		return err
	}
	// Without their types' own ways to copy, which choose the pieces themselves.
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, piece))
	return errors.Join(err, out.Sync(), out.Close())
}

// figures are what one program did with one tree.
type figures struct {
	program    program
	push, pull []measure.Sample
	blob       int64
}

// measure lets each program push and pull the tree: in each round all of them, beginning with
// another one. Each push goes to a repository of its own, so that it sends all there is. The first round does not
// count: in it all is read and written for the first time.
func (b *bench) measure(ctx context.Context, tree string, size int) ([]figures, error) {
	want, err := digestOfTree(tree)
	if err != nil {
		return nil, err
	}
	all := programs()
	out := make([]figures, len(all))
	for round := range b.runs + 1 {
		for i := range all {
			at := (i + round) % len(all)
			f := &out[at]
			if f.program = all[at]; round == 1 {
				f.push, f.pull = nil, nil
			}
			if err := b.once(ctx, f, tree, fmt.Sprintf("bench-%d/%s-%d-%d", os.Getpid(), f.program.name, size, round), want); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// once pushes and pulls, and checks that what comes is what went.
func (b *bench) once(ctx context.Context, f *figures, tree, repository, want string) error {
	ref := b.registry + "/" + repository + ":1"
	pushed, err := b.shell(ctx, f.program.push, ref, tree)
	if err != nil {
		return err
	}
	to := filepath.Join(b.dir, "pulled")
	pulled, err := b.shell(ctx, f.program.pull, ref, to)
	if err != nil {
		return err
	}
	defer os.RemoveAll(to)
	got, err := digestOfTree(filepath.Join(to, f.program.under))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s pulled another tree than it pushed", f.program.name)
	}
	f.push, f.pull = append(f.push, pushed), append(f.pull, pulled)
	f.blob, err = blobSize(ctx, b.registry, repository)
	return err
}

// shell runs a command with the programs first on its PATH, and a home of its own.
func (b *bench) shell(ctx context.Context, command, ref, dir string) (measure.Sample, error) {
	script := "set -e; exec 2>&1; " + strings.NewReplacer("$REF", ref, "$DIR", dir).Replace(command)
	return measure.Run(ctx, measure.Command{
		Args: []string{"sh", "-c", script},
		Env:  []string{"PATH=" + b.programs + ":" + os.Getenv("PATH"), "HOME=" + b.dir, "TMPDIR=" + b.dir, "LANG=C.UTF-8"},
	})
}

// blobSize adds up the layers that a manifest names.
func blobSize(ctx context.Context, registry, repository string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+registry+"/v2/"+repository+"/manifests/1", nil)
	if err != nil {
		return 0, err
	}
	for _, kind := range []string{"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"} {
		req.Header.Add("Accept", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var manifest struct{ Layers []struct{ Size int64 } }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&manifest); err != nil {
		return 0, fmt.Errorf("reading the manifest of %s: %w", repository, err)
	}
	sum := int64(0)
	for _, layer := range manifest.Layers {
		sum += layer.Size
	}
	return sum, nil
}
