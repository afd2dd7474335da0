// SPDX-License-Identifier: Apache-2.0

// Command sbom writes what a program is made of, in the form of CycloneDX 1.6
// (https://cyclonedx.org/docs/1.6/json): the modules that the Go linker recorded in it, with their
// checksums, and the standard library. It needs neither the source nor a network, and the same
// program gives the same document.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

type document struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: sbom PROGRAM VERSION FILE")
	}
	info, err := buildinfo.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("reading what %s is made of: %w", args[0], err)
	}
	doc, err := describe(info, args[1])
	if err != nil {
		return fmt.Errorf("describing %s: %w", args[0], err)
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(args[2], append(text, '\n'), 0o644)
}

// describe lists the modules of a program, in the order of their names.
func describe(info *debug.BuildInfo, version string) (document, error) {
	program := componentOf(info.Main.Path, version)
	program.Type = "application"
	for _, s := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "CGO_ENABLED"}, s.Key) {
			program.Properties = append(program.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	parts := []component{componentOf("std", info.GoVersion)}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		part := componentOf(module.Path, module.Version)
		if module.Sum != "" {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(module.Sum, "h1:"))
			if err != nil {
				return document{}, fmt.Errorf("reading the checksum of %s: %w", module.Path, err)
			}
			part.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum)}}
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	uses := dependency{Ref: program.Ref}
	for _, part := range parts {
		uses.DependsOn = append(uses.DependsOn, part.Ref)
	}
	return document{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{program}, Components: parts, Dependencies: []dependency{uses},
	}, nil
}

// componentOf names a module as https://github.com/package-url/purl-spec has it.
func componentOf(path, version string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Ref: purl, Type: "library", Name: path, Version: version, PURL: purl}
}
