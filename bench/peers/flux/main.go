// SPDX-License-Identifier: Apache-2.0

// Command flux pushes and pulls a directory with the library that Flux's CLI and controllers use, as
// they do: flux push|pull REPOSITORY:TAG DIRECTORY.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/oci"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: flux push|pull REPOSITORY:TAG DIRECTORY")
	}
	client, url, dir := oci.NewClient(oci.DefaultOptions()), args[1], args[2]
	switch args[0] {
	case "push":
		digest, err := client.Push(ctx, url, dir, oci.WithPushMetadata(oci.Metadata{Source: "bench", Revision: "bench"}))
		if err != nil {
			return err
		}
		fmt.Println(digest)
		return nil
	case "pull":
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		meta, err := client.Pull(ctx, url, dir)
		if err != nil {
			return err
		}
		fmt.Println(meta.Digest)
		return nil
	default:
		return fmt.Errorf("there is no command %q", args[0])
	}
}
