// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"
)

const (
	appName      = "demo-app"
	appNamespace = "kustomizer-demo"
	production   = "demo-app-production"
	secretName   = "registry-auth"
	interval     = "--interval=5s"

	objectsAtFirst = 10
	objectsUpdated = 9 // 1.1.0 has one autoscaler less
	firstColour    = "#34577c"
	secondColour   = "#3b8132"
	goneInUpdate   = "HorizontalPodAutoscaler/" + appNamespace + "/backend"
)

// How long it may take, on a busy machine, until what a command asked for can be seen.
const (
	soon    = 5 * time.Second
	started = 45 * time.Second
	rollout = 90 * time.Second
)

// steps is the guide, in its order.
func steps() []step {
	return append(publishing(), append(delivering(), changing()...)...)
}

// publishing is what a developer or CI does, and an administrator once.
func publishing() []step {
	return []step{
		{
			name: "login", run: login, check: checkLogin, within: soon,
			sabotage: doAfter("the credentials are lost", loseCredentials),
		},
		{
			name: "publish", run: publish, check: checkPublished, within: soon,
			sabotage: doAfter("somebody else pushes something else under the same tag", func(ctx context.Context, s *story) error {
				return s.pushRaw(ctx, "1.0.0", strayObject)
			}),
		},
		{
			name: "tag", run: tagLatest, check: checkTag("latest", "1.0.0"), within: soon,
			sabotage: doAfter("the tag is moved to something else", func(ctx context.Context, s *story) error {
				if err := s.pushRaw(ctx, "stray", strayObject); err != nil {
					return err
				}
				return s.moveTag(ctx, "stray", "latest")
			}),
		},
		{
			name: "image", run: pushImage, check: checkImage, within: soon,
			sabotage: doAfter("the image holds another program", spoilImage),
		},
		{
			name: "install", run: install, check: checkInstalled, within: started,
			sabotage: doAfter("a NetworkPolicy is deleted", deletePolicy),
		},
	}
}

// delivering brings the first version to the cluster.
func delivering() []step {
	return []step{
		{
			name: "agent", run: startAgent, check: checkAgent, within: started,
			sabotage: sabotage{what: "Flux's own controller leads", before: holdLease, undo: dropLease},
		},
		{
			name: "secret", run: createSecret, check: checkSecret, within: soon,
			sabotage: doAfter("the password is another one", spoilSecret),
		},
		{
			name: "source", run: createSource, check: checkSource, within: started,
			sabotage: sabotage{
				what: "the tag is moved to something else",
				before: func(ctx context.Context, s *story) error {
					if err := s.pushRaw(ctx, "stray", strayObject); err != nil {
						return err
					}
					return s.moveTag(ctx, "stray", "latest")
				},
				undo: func(ctx context.Context, s *story) error { return s.moveTag(ctx, "1.0.0", "latest") },
			},
		},
		{
			name: "deploy", run: createKustomization, check: checkDeployed, within: rollout,
			sabotage: sabotage{
				what: "a Service is deleted while the agent is kept from it", after: deleteService,
				undo: func(ctx context.Context, s *story) error { return s.suspend(ctx, false) },
			},
		},
	}
}

// changing is what happens afterwards: updates, mistakes and promotion.
func changing() []step {
	return []step{
		{
			name: "publish-next", run: publishNext, check: checkTag("latest", "1.1.0"), within: soon,
			sabotage: doAfter("the tag is moved back", func(ctx context.Context, s *story) error { return s.moveTag(ctx, "1.0.0", "latest") }),
		},
		{
			name: "update", run: update, check: checkUpdated, within: rollout,
			sabotage: sabotage{
				what: "pruning is switched off", before: prune("false"), undo: prune("true"),
			},
		},
		{
			name: "drift", run: drift, check: checkCorrected, within: started,
			sabotage: sabotage{
				what:   "the Kustomization is suspended",
				before: func(ctx context.Context, s *story) error { return s.suspend(ctx, true) },
				undo:   func(ctx context.Context, s *story) error { return s.suspend(ctx, false) },
			},
		},
		{
			name: "hold", run: deployEmpty, check: checkHeld, within: started,
			sabotage: sabotage{what: "the artifact isn't empty", before: copyMistake, undo: forgetMistake},
		},
		{
			name: "restore", run: restore, check: checkRestored, within: started,
			sabotage: doAfter("the tag is moved to the empty artifact again", emptyAgain),
		},
		{
			name: "promote", run: promote, check: checkTag("stable", "1.0.0"), within: soon,
			sabotage: doAfter("the tag is moved to another version", func(ctx context.Context, s *story) error { return s.moveTag(ctx, "1.1.0", "stable") }),
		},
		{
			name: "production", run: deployProduction, check: checkProduction, within: rollout,
			sabotage: sabotage{
				what:   "another version is promoted",
				before: func(ctx context.Context, s *story) error { return s.moveTag(ctx, "1.1.0", "stable") },
				undo:   func(ctx context.Context, s *story) error { return s.moveTag(ctx, "1.0.0", "stable") },
			},
		},
		{
			name: "events", run: readEvents, check: checkEvents, within: soon,
			sabotage: sabotage{what: "the events are deleted", before: deleteEvents, undo: recreateEvents},
		},
	}
}

// doAfter is a sabotage that running the step again repairs.
func doAfter(what string, do func(context.Context, *story) error) sabotage {
	return sabotage{what: what, after: do}
}

// strayObject is a manifest that has nothing to do with the demo app.
const strayObject = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: stray\n  namespace: default\n"
