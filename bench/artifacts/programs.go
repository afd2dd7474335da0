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

// install copies the programs, as install(1) and cp(1) do, and has the copies measured. In a file that the linker wrote
// the same program starts in 40 or in 60 ms, as luck has it where its pages lie in memory.
func (b *bench) install() error {
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

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // it is to be run
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// figures are what one program did with one tree.
type figures struct {
	program    program
	push, pull []measure.Sample
	blob       int64
}

// measure lets each program push the tree, and then pull it, in rounds: in each all of them, beginning with
// another one. Each push goes to a repository of its own, so that it sends all there is. Pulls come when all is pushed,
// since they leave thousands of files for the disk, which the registry waits for. The first round of either does not
// count: in it all is read and written for the first time.
func (b *bench) measure(ctx context.Context, tree string, size int) ([]figures, error) {
	want, err := digestOfTree(tree)
	if err != nil {
		return nil, err
	}
	out := make([]figures, len(programs()))
	for i, p := range programs() {
		out[i].program = p
	}
	repository := func(f *figures, round int) string {
		return fmt.Sprintf("bench-%d/%s-%d-%d", os.Getpid(), f.program.name, size, round)
	}
	ref := func(f *figures, round int) string { return b.registry + "/" + repository(f, round) + ":1" }
	if err := b.rounds(out, func(f *figures, round int) error {
		pushed, err := b.shell(ctx, f.program.push, ref(f, round), tree)
		if err != nil {
			return err
		}
		f.push = append(f.push, pushed)
		f.blob, err = blobSize(ctx, b.registry, repository(f, round))
		return err
	}); err != nil {
		return nil, err
	}
	if err := b.rounds(out, func(f *figures, round int) error {
		pulled, err := b.pull(ctx, f.program, ref(f, round), want)
		f.pull = append(f.pull, pulled)
		return err
	}); err != nil {
		return nil, err
	}
	for i := range out {
		out[i].push, out[i].pull = out[i].push[1:], out[i].pull[1:]
	}
	return out, nil
}

// rounds does something for each program, as often as is measured and once more.
func (b *bench) rounds(all []figures, do func(f *figures, round int) error) error {
	for round := range b.runs + 1 {
		for i := range all {
			if err := do(&all[(i+round)%len(all)], round); err != nil {
				return err
			}
		}
	}
	return nil
}

// pull pulls what a program pushed, and checks that it is the tree with that digest.
func (b *bench) pull(ctx context.Context, p program, ref, want string) (measure.Sample, error) {
	to := filepath.Join(b.dir, "pulled")
	defer os.RemoveAll(to)
	pulled, err := b.shell(ctx, p.pull, ref, to)
	if err != nil {
		return pulled, err
	}
	got, err := digestOfTree(to)
	if err == nil && got != want {
		err = fmt.Errorf("%s pulled another tree than it pushed", p.name)
	}
	return pulled, err
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
